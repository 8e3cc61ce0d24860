// Moving rows: choosing, joining, splitting, pooling. Meanings: heron/backends/reference/core.py.
#include <algorithm>
#include <cstring>

#include "ops.h"

namespace heron {
namespace {

void copy_row(float* to, const float* from, std::int64_t n) { std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float)); }

// Rows are what one index of the first axis names.
std::int64_t width(const Frame& f, const Value& v) {
    std::int64_t n = 1;
    for (std::size_t i = 1; i < v.shape.size(); ++i) n *= f.size(v.shape[i]);
    return n;
}

Instruction rows(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = width(f, x);
        for (std::int64_t r = 0; r < f.symbols[ROWS]; ++r) copy_row(f.f32(y) + r * n, f.f32(x) + f.batch.rows[r] * n, n);
    }, {}};
}

Instruction insert_embeds(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = width(f, x);
        copy_row(f.f32(y), f.f32(x), f.symbols[TOKENS] * n);
        if (f.batch.embed_count && f.batch.embed_columns != n) throw ProgramError("embeds have " + std::to_string(f.batch.embed_columns) + " columns, not " + std::to_string(n));
        for (std::int64_t i = 0; i < f.batch.embed_count; ++i) {
            const std::int32_t row = f.batch.embed_rows[i];
            if (row < 0 || row >= f.symbols[TOKENS]) throw ProgramError("embed_rows names row " + std::to_string(row) + ", which the step does not have");
            copy_row(f.f32(y) + row * n, f.batch.embeds + i * n, n);
        }
    }, {}};
}

Instruction split(const Node& node, Shared&) {
    const Value x = node.inputs[0];
    const std::vector<Value> parts = node.outputs;
    return {[=](Frame& f) {
        const std::int64_t n = x.columns();
        const float* from = f.f32(x);
        f.by_rows(f.rows(x), n, [&](std::int64_t begin, std::int64_t end) {
            std::int64_t at = 0;
            for (const Value& part : parts) {
                const std::int64_t m = part.columns();
                for (std::int64_t r = begin; r < end; ++r) copy_row(f.f32(part) + r * m, from + r * n + at, m);
                at += m;
            }
        });
    }, {}};
}

Instruction concat(const Node& node, Shared&) {
    const std::vector<Value> parts = node.inputs;
    const Value y = node.outputs[0];
    return {[=](Frame& f) {
        const std::int64_t n = y.columns();
        float* to = f.f32(y);
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            std::int64_t at = 0;
            for (const Value& part : parts) {
                const std::int64_t m = part.columns();
                for (std::int64_t r = begin; r < end; ++r) copy_row(to + r * n + at, f.f32(part) + r * m, m);
                at += m;
            }
        });
    }, {}};
}

Instruction columns(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const WeightPtr order = weight_of(node, 0);
    std::vector<std::int32_t> from_column(order->values.begin(), order->values.end());
    const auto count = static_cast<std::int32_t>(from_column.size());
    if (std::any_of(from_column.begin(), from_column.end(), [&](std::int32_t c) { return c < 0 || c >= count; })) {
        throw ProgramError("columns are taken that their input does not have");
    }
    return {[=, from_column = std::move(from_column)](Frame& f) {
        const std::int64_t n = y.columns();
        if (n != count || x.columns() != count) throw ProgramError("columns are ordered that are of another number");
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
                for (std::int64_t i = 0; i < n; ++i) to[r * n + i] = from[r * n + from_column[static_cast<std::size_t>(i)]];
            }
        });
    }, {}};
}

Instruction pool(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const std::string kind = node.attributes.word("kind");
    return {[=](Frame& f) {
        const std::int64_t n = width(f, x);
        for (std::int64_t s = 0; s < f.symbols[SEQUENCES]; ++s) {
            const std::int64_t first = f.batch.query_start[s], last = f.batch.query_start[s + 1];
            const float* from = f.f32(x) + first * n;
            float* to = f.f32(y) + s * n;
            if (first == last) throw ProgramError("sequence " + std::to_string(s) + " has no token to pool");
            if (kind == "cls") {
                copy_row(to, from, n);
            } else if (kind == "last") {
                copy_row(to, from + (last - first - 1) * n, n);
            } else {
                copy_row(to, from, n);
                for (std::int64_t t = 1; t < last - first; ++t) f.kernels.add(to, to, from + t * n, n);
                f.kernels.mul_scalar(to, to, 1.0f / static_cast<float>(last - first), n);
            }
        }
    }, {}};
}

}  // namespace

void add_shape_kernels(Kernels& table) {
    table["rows"] = rows;
    table["insert_embeds"] = insert_embeds;
    table["split"] = split;
    table["columns"] = columns;
    table["concat"] = concat;
    table["pool"] = pool;
}

}  // namespace heron
