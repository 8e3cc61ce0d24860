// Picking experts and adding up what they say. Meanings: heron/backends/reference/routing.py.
#include "ops.h"

namespace heron {
namespace {

// The place of the largest of n numbers that are not yet taken; the first among equals, a NaN after all others.
std::int64_t next_largest(const float* x, const std::uint8_t* taken, std::int64_t n) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < n; ++i) {
        if (taken[i]) continue;
        if (best < 0 || x[i] > x[best] || (x[best] != x[best] && x[i] == x[i])) best = i;
    }
    return best;
}

// Calls found(j, i) for the j-th largest, element i, of each row in [begin, end).
template <class Found>
void largest_of_rows(const float* x, std::int64_t begin, std::int64_t end, std::int64_t n, std::int64_t k, std::uint8_t* taken, const Found& found) {
    for (std::int64_t r = begin; r < end; ++r) {
        std::fill(taken, taken + n, std::uint8_t{0});
        for (std::int64_t j = 0; j < k; ++j) {
            const std::int64_t i = next_largest(x + r * n, taken, n);
            taken[i] = 1;
            found(r, j, i);
        }
    }
}

std::int64_t marks_for_threads(const Frame& f, const Value& x) { return f.pool.size() * x.columns(); }

Instruction topk(const Node& node, Shared&) {
    const Value x = node.inputs[0], values = node.outputs[0], ids = node.outputs[1];
    return {[=](Frame& f) {
        const std::int64_t n = x.columns(), k = ids.columns();
        const float* from = f.f32(x);
        f.pool.ranges(f.rows(x), Frame::GRAIN / (n * k) + 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            auto* taken = reinterpret_cast<std::uint8_t*>(f.scratch) + worker * n;
            largest_of_rows(from, begin, end, n, k, taken, [&](std::int64_t r, std::int64_t j, std::int64_t i) {
                f.f32(values)[r * k + j] = from[r * n + i];
                f.i32(ids)[r * k + j] = static_cast<std::int32_t>(i);
            });
        });
    }, [=](const Frame& f) { return marks_for_threads(f, x); }};
}

Instruction topk_mask(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const auto k = static_cast<std::int64_t>(node.attributes.number("k"));
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        float* to = f.f32(y);
        std::fill(to, to + f.elements(y), 0.0f);
        f.pool.ranges(f.rows(x), Frame::GRAIN / (n * k) + 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            auto* taken = reinterpret_cast<std::uint8_t*>(f.scratch) + worker * n;
            largest_of_rows(f.f32(x), begin, end, n, k, taken, [&](std::int64_t r, std::int64_t, std::int64_t i) { to[r * n + i] = 1; });
        });
    }, [=](const Frame& f) { return marks_for_threads(f, x); }};
}

Instruction take(const Node& node, Shared&) {
    const Value x = node.inputs[0], ids = node.inputs[1], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = x.columns(), k = ids.columns();
        for (std::int64_t r = 0; r < f.rows(ids); ++r) {
            for (std::int64_t j = 0; j < k; ++j) {
                const std::int32_t id = f.i32(ids)[r * k + j];
                if (id < 0 || id >= n) throw ProgramError("take: id " + std::to_string(id) + " of " + std::to_string(n));
                f.f32(y)[r * k + j] = f.f32(x)[r * n + id];
            }
        }
    }, {}};
}

Instruction combine(const Node& node, Shared&) {
    const Value x = node.inputs[0], weights = node.inputs[1], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = x.columns(), k = weights.columns();
        f.by_rows(f.rows(y), n * k, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                f.kernels.weighted_sum(f.f32(y) + r * n, f.f32(x) + r * k * n, n, f.f32(weights) + r * k, static_cast<int>(k), n);
            }
        });
    }, {}};
}

}  // namespace

void add_routing_kernels(Kernels& table) {
    table["topk"] = topk;
    table["topk_mask"] = topk_mask;
    table["take"] = take;
    table["combine"] = combine;
}

}  // namespace heron
