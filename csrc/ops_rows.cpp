// Norms, elementwise functions and reductions over the last axis. Meanings: heron/backends/reference/core.py.
#include "ops.h"

#include <algorithm>
#include <iterator>

namespace heron {
namespace {

// Arithmetic of a transcendental function, beside that of an addition.
constexpr int EXP_COST = 8;

// A norm's gain (or bias) may differ by head: [H, d] beside x [T, H, d].
const float* row_of(const float* values, std::int64_t row, std::int64_t count, std::int64_t columns) {
    return values ? values + row % count * columns : nullptr;
}

Instruction rms_norm(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const float eps = static_cast<float>(node.attributes.number("eps"));
    const WeightPtr gain = weight_of(node, 0);
    return {[=](Frame& f) {
        const std::int64_t n = x.columns(), gains = gain ? static_cast<std::int64_t>(gain->values.size()) / n : 1;
        const float *from = f.f32(x), *g = gain ? gain->values.data() : nullptr;
        float* to = f.f32(y);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) f.kernels.rms_norm(to + r * n, from + r * n, row_of(g, r, gains, n), n, eps);
        });
    }, {}};
}

Instruction layer_norm(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const float eps = static_cast<float>(node.attributes.number("eps"));
    const WeightPtr gain = weight_of(node, 0), bias = weight_of(node, 1);
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        const std::int64_t gains = gain ? static_cast<std::int64_t>(gain->values.size()) / n : 1;
        const std::int64_t biases = bias ? static_cast<std::int64_t>(bias->values.size()) / n : 1;
        const float *from = f.f32(x), *g = gain ? gain->values.data() : nullptr, *b = bias ? bias->values.data() : nullptr;
        float* to = f.f32(y);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                f.kernels.layer_norm(to + r * n, from + r * n, row_of(g, r, gains, n), row_of(b, r, biases, n), n, eps);
            }
        });
    }, {}};
}

Instruction add_rms_norm(const Node& node, Shared&) {
    const Value a = node.inputs[0], b = node.inputs[1], sum = node.outputs[0], y = node.outputs[1];
    const float eps = static_cast<float>(node.attributes.number("eps"));
    const WeightPtr gain = weight_of(node, 0);
    return {[=](Frame& f) {
        const std::int64_t n = sum.columns();
        const float* g = gain ? gain->values.data() : nullptr;
        const Broadcast left(f, a, sum), right(f, b, sum);
        float *total = f.f32(sum), *to = f.f32(y);
        f.by_rows(f.rows(sum), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                combine_row(f.kernels.add, f.kernels.add_scalar, total + r * n, left.row(r), left.single, right.row(r), right.single, n);
                f.kernels.rms_norm(to + r * n, total + r * n, g, n, eps);
            }
        });
    }, {}};
}

using Elementwise = void (*RowKernels::*)(float*, const float*, const float*, std::int64_t);
using ByScalar = void (*RowKernels::*)(float*, const float*, float, std::int64_t);

template <Elementwise rows, ByScalar scalar>
Instruction binary(const Node& node, Shared&) {
    const Value a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
    return {[=](Frame& f) {
        float* to = f.f32(y);
        const Broadcast left(f, a, y), right(f, b, y);
        if (left.same && right.same) {
            const float *p = f.f32(a), *q = f.f32(b);
            return f.by_elements(f.elements(y), [&](std::int64_t i, std::int64_t j) { (f.kernels.*rows)(to + i, p + i, q + i, j - i); });
        }
        const std::int64_t n = y.columns();
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                combine_row(f.kernels.*rows, f.kernels.*scalar, to + r * n, left.row(r), left.single, right.row(r), right.single, n);
            }
        });
    }, {}};
}

// bias, gain: a weight broadcast along the leading axes.
template <Elementwise rows, ByScalar scalar>
Instruction by_weight(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const WeightPtr weight = weight_of(node, 0);
    return {[=](Frame& f) {
        const Broadcast right(f, *weight, y);
        const std::int64_t n = y.columns();
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                combine_row(f.kernels.*rows, f.kernels.*scalar, to + r * n, from + r * n, false, right.row(r), right.single, n);
            }
        });
    }, {}};
}

Instruction scale(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const float factor = static_cast<float>(node.attributes.number("factor"));
    return {[=](Frame& f) {
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_elements(f.elements(x), [&](std::int64_t i, std::int64_t j) { f.kernels.mul_scalar(to + i, from + i, factor, j - i); });
    }, {}};
}

Instruction clamp(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const float low = static_cast<float>(node.attributes.number("low")), high = static_cast<float>(node.attributes.number("high"));
    return {[=](Frame& f) {
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_elements(f.elements(x), [&](std::int64_t i, std::int64_t j) {
            for (; i < j; ++i) to[i] = std::min(std::max(from[i], low), high);
        });
    }, {}};
}

Instruction activation(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const Activation kind = activation_of(node);
    return {[=](Frame& f) {
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_elements(f.elements(x), [&](std::int64_t i, std::int64_t j) { f.kernels.activate(kind, to + i, from + i, j - i); }, EXP_COST);
    }, {}};
}

Instruction glu(const Node& node, Shared&) {
    const Value gate = node.inputs[0], up = node.inputs[1], y = node.outputs[0];
    const Glu how = glu_of(node);
    return {[=](Frame& f) {
        if (f.elements(gate) != f.elements(y) || f.elements(up) != f.elements(y)) throw ProgramError("glu takes a gate and values of one shape");
        const float *g = f.f32(gate), *u = f.f32(up);
        float* to = f.f32(y);
        f.by_elements(f.elements(y), [&](std::int64_t i, std::int64_t j) { f.kernels.glu(how, to + i, g + i, u + i, j - i); }, EXP_COST);
    }, {}};
}

Instruction softmax(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) f.kernels.softmax(to + r * n, from + r * n, n);
        }, EXP_COST);
    }, {}};
}

Instruction sum(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) to[r] = f.kernels.sum(from + r * n, n);
        });
    }, {}};
}

Instruction normalize(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const float floor = static_cast<float>(node.attributes.number("floor"));
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                const float total = std::max(f.kernels.sum(from + r * n, n), floor);
                for (std::int64_t i = 0; i < n; ++i) to[r * n + i] = from[r * n + i] / total;
            }
        });
    }, {}};
}

Instruction mask_fill(const Node& node, Shared&) {
    const Value x = node.inputs[0], mask = node.inputs[1], y = node.outputs[0];
    const float value = static_cast<float>(node.attributes.number("value"));
    return {[=](Frame& f) {
        const Broadcast kept(f, mask, y);
        const std::int64_t n = y.columns();
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                const float* m = kept.row(r);
                for (std::int64_t i = 0; i < n; ++i) to[r * n + i] = m[kept.single ? 0 : i] != 0 ? from[r * n + i] : value;
            }
        });
    }, {}};
}

}  // namespace

Activation activation_of(const Node& node) {
    const std::string& kind = node.attributes.word("kind");
    for (std::size_t i = 0; i < std::size(ACTIVATIONS); ++i) {
        if (kind == ACTIVATIONS[i]) return static_cast<Activation>(i);
    }
    throw ProgramError("there is no activation " + kind);
}

Glu glu_of(const Node& node) {
    return {activation_of(node), static_cast<float>(node.attributes.number("limit", 0)), static_cast<float>(node.attributes.number("offset", 0))};
}

void add_row_kernels(Kernels& table) {
    table["rms_norm"] = rms_norm;
    table["layer_norm"] = layer_norm;
    table["add_rms_norm"] = add_rms_norm;
    table["add"] = binary<&RowKernels::add, &RowKernels::add_scalar>;
    table["mul"] = binary<&RowKernels::mul, &RowKernels::mul_scalar>;
    table["bias"] = by_weight<&RowKernels::add, &RowKernels::add_scalar>;
    table["gain"] = by_weight<&RowKernels::mul, &RowKernels::mul_scalar>;
    table["scale"] = scale;
    table["clamp"] = clamp;
    table["activation"] = activation;
    table["glu"] = glu;
    table["softmax"] = softmax;
    table["sum"] = sum;
    table["normalize"] = normalize;
    table["mask_fill"] = mask_fill;
}

}  // namespace heron
