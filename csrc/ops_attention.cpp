// Writing keys and values, or latents, to the paged cache, and attending to them. Meanings: heron/backends/reference/attention.py.
#include <algorithm>

#include "attending.h"
#include "ops.h"

namespace heron {
namespace {

// Stores row t of x at the place of token t.
void write_rows(const Frame& f, const StateField& field, const Value& x) {
    const Group& group = f.runtime.groups[static_cast<std::size_t>(field.group)];
    const Table& table = f.batch.tables[static_cast<std::size_t>(field.group)];
    const std::int64_t tokens = f.symbols[TOKENS], n = tokens ? f.elements(x) / tokens : 0;
    const float* from = f.f32(x);
    f.by_rows(tokens, n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
            const std::int64_t s = f.sequence[static_cast<std::size_t>(t)], place = f.place[static_cast<std::size_t>(t)];
            const std::int64_t block = table.blocks[s * table.width + place / group.block_size - (table.start ? table.start[s] : 0)];
            f.kernels.encode(field.storage, field.data + (block * group.block_size + place % group.block_size) * field.bytes, from + t * n, n);
        }
    });
}

Instruction kv_write(const Node& node, Shared&) {
    const Value key = node.inputs[node.inputs.size() - 2], value = node.inputs.back();
    const auto key_field = static_cast<std::size_t>(node.fields[0]), value_field = static_cast<std::size_t>(node.fields[1]);
    return {[=](Frame& f) {
        write_rows(f, f.runtime.fields[key_field], key);
        write_rows(f, f.runtime.fields[value_field], value);
    }, {}};
}

// The bias [buckets, heads] of each distance from -reach to reach, whose buckets are given.
std::vector<float> biases_by_distance(const Weight& bias, const std::vector<std::int64_t>& buckets) {
    const auto heads = static_cast<std::size_t>(bias.shape[1]);
    std::vector<float> by_distance(heads * buckets.size());
    for (std::size_t head = 0; head < heads; ++head) {
        for (std::size_t i = 0; i < buckets.size(); ++i) {
            by_distance[head * buckets.size() + i] = bias.values.at(static_cast<std::size_t>(buckets[i]) * heads + head);
        }
    }
    return by_distance;
}

Instruction attend(const Node& node, Shared&) {
    const Attributes& with = node.attributes;
    const Value query = node.inputs[0], output = node.outputs[0];
    const auto a = std::make_shared<Attention>();
    a->heads = query.shape[1].constant, a->dim = query.columns(), a->value_dim = output.columns();
    a->scale = static_cast<float>(with.number("scale"));
    a->softcap = static_cast<float>(with.number("softcap"));
    a->causal = with.number("causal") != 0;
    a->window = static_cast<std::int64_t>(with.number("window"));
    a->sinks = weight_of(node, 0);
    a->slopes = weight_of(node, 2);
    if (const Weight* bias = node.weight(1)) {
        const std::vector<std::int64_t>& buckets = with.lists.at("buckets");
        a->biases = biases_by_distance(*bias, buckets);
        a->reach = static_cast<std::int64_t>(buckets.size() / 2);
    }
    const auto scratch = [=](const Frame& f) { return Attending(*a, f).scratch(); };
    if (node.fields.empty()) {
        const Value key = node.inputs[1], value = node.inputs[2];
        a->key_heads = key.shape[1].constant;
        return {[=](Frame& f) { Attending(*a, f).run({f.f32(query), nullptr, f.f32(key), f.f32(value), f.f32(output), f.scratch}); }, scratch};
    }
    a->key_field = node.fields[0], a->value_field = node.fields[1];
    return {[=](Frame& f) { Attending(*a, f).run({f.f32(query), nullptr, nullptr, nullptr, f.f32(output), f.scratch}); }, scratch};
}

// Fused: this step's keys and values are written, then read as they are stored.
Instruction attention(const Node& node, Shared& shared) {
    const Instruction write = kv_write(node, shared), read = attend(node, shared);
    return {[=](Frame& f) {
        write.run(f);
        read.run(f);
    }, read.scratch};
}

// Of each head a product with its own matrix: y[t, head] = W[head] x[t, head].
class ByHead {
public:
    ByHead(WeightPtr weight, Mode mode) : weight_(std::move(weight)), kind_(weight_->matrices[0].layout->kind(mode)) {}

    std::int64_t scratch(const Frame& f) const { return f.pool.size() * prepared_bytes(); }

    void run(const Frame& f, const float* x, float* y, char* scratch) const {
        const PackedMatrix& first = weight_->matrices[0];
        const std::int64_t tokens = f.symbols[TOKENS], k = first.k, rows = first.rows, heads = static_cast<std::int64_t>(weight_->matrices.size());
        const std::int64_t groups = (tokens + TOGETHER - 1) / TOGETHER;
        f.pool.ranges(heads * groups, ITEM_WORK / (first.bytes() * std::min(tokens, TOGETHER)) + 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            char* prepared = scratch + worker * prepared_bytes();
            for (std::int64_t i = begin; i < end; ++i) {
                const std::int64_t head = i / groups, token = i % groups * TOGETHER, count = std::min(TOGETHER, tokens - token);
                const Isa isa = f.runtime.isa;
                prepare(kind_, isa, x + (token * heads + head) * k, heads * k, count, k, 0, tile_count(kind_, isa, count), prepared);
                const PackedMatrix& matrix = weight_->matrices[static_cast<std::size_t>(head)];
                dot(matrix, 0, matrix.panels(), {kind_, count, prepared}, y + (token * heads + head) * rows, heads * rows);
            }
        });
    }

private:
    static constexpr std::int64_t TOGETHER = 48;  // tokens: whole tiles of every kernel
    static constexpr std::int64_t ITEM_WORK = 1 << 16;

    std::int64_t prepared_bytes() const { return aligned(TOGETHER * activation_bytes(kind_, weight_->matrices[0].k)); }

    WeightPtr weight_;
    ActivationKind kind_;
};

// Latent attention in its absorbed form: queries go through the keys' up-projection, attend to the latents, of which every
// head sees the same, and what they find goes through the values' up-projection. The expanded form, which makes each
// head's keys and values of the latents first, would take fewer products for long prompts, but gives other last bits:
// an answer would depend on how a prompt was divided into steps.
Instruction latent_attend(const Node& node, Shared&) {
    const Value nope = node.inputs[0], rest = node.inputs[1], output = node.outputs[0];
    const auto keys = std::make_shared<const ByHead>(weight_of(node, 0), mode_of(node)), values = std::make_shared<const ByHead>(weight_of(node, 1), mode_of(node));
    const auto a = std::make_shared<Attention>();
    const std::vector<std::int64_t>& key_up = node.weights[0]->shape;  // [heads, rank, nope]
    a->heads = key_up[0], a->dim = a->value_dim = key_up[1], a->rest_dim = rest.columns();
    a->key_field = a->value_field = node.fields[0], a->rest_field = node.fields[1];
    a->scale = static_cast<float>(node.attributes.number("scale"));
    const auto latents = [=](const Frame& f) { return aligned(f.symbols[TOKENS] * a->heads * a->dim * 4); };  // [T, heads, rank]
    return {[=](Frame& f) {
        auto* latent = reinterpret_cast<float*>(f.scratch);
        char* scratch = f.scratch + latents(f);
        keys->run(f, f.f32(nope), latent, scratch);
        Attending(*a, f).run({latent, f.f32(rest), nullptr, nullptr, latent, scratch});
        values->run(f, latent, f.f32(output), scratch);
    }, [=](const Frame& f) { return latents(f) + std::max({keys->scratch(f), values->scratch(f), Attending(*a, f).scratch()}); }};
}

}  // namespace

void add_attention_kernels(Kernels& table) {
    table["kv_write"] = kv_write;
    table["latent_write"] = kv_write;  // two fields, whatever they hold
    table["latent_attend"] = latent_attend;
    table["attend"] = attend;
    table["attention"] = attention;
}

}  // namespace heron
