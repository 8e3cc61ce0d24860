// Writing keys and values to the paged cache, and attending to them. Meanings: heron/backends/reference/attention.py.
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

Instruction attend(const Node& node, Shared&) {
    const Attributes& with = node.attributes;
    const auto a = std::make_shared<Attention>();
    a->query = node.inputs[0], a->output = node.outputs[0];
    a->scale = static_cast<float>(with.number("scale"));
    a->softcap = static_cast<float>(with.number("softcap"));
    a->causal = with.number("causal") != 0;
    a->window = static_cast<std::int64_t>(with.number("window"));
    a->sinks = weight_of(node, 0);
    a->slopes = weight_of(node, 2);
    if (node.fields.empty()) {
        a->key = node.inputs[1], a->value = node.inputs[2];
    } else {
        a->key_field = node.fields[0], a->value_field = node.fields[1];
    }
    return {[=](Frame& f) { Attending(*a, f).run(); }, [=](const Frame& f) { return Attending(*a, f).scratch(); }};
}

// Fused: this step's keys and values are written, then read as they are stored.
Instruction attention(const Node& node, Shared& shared) {
    const Instruction write = kv_write(node, shared), read = attend(node, shared);
    return {[=](Frame& f) {
        write.run(f);
        read.run(f);
    }, read.scratch};
}

}  // namespace

void add_attention_kernels(Kernels& table) {
    table["kv_write"] = kv_write;
    table["attend"] = attend;
    table["attention"] = attention;
}

}  // namespace heron
