// Rotary positions. Meaning: heron/backends/reference/attention.py.
#include <cmath>

#include "ops.h"

namespace heron {
namespace {

// Cosines and sines of a step's angles, which all layers share: computed by the first that asks.
struct Rotation {
    std::uint64_t number = 0;  // of the step that they are of
    std::vector<float> cosine, sine;  // [T, n]

    void fill(const Frame& f, const std::int32_t* positions, const std::vector<float>& frequencies, const std::vector<int>& axis, float scale) {
        if (number == f.number) return;
        number = f.number;
        const std::int64_t tokens = f.symbols[TOKENS], n = static_cast<std::int64_t>(frequencies.size());
        cosine.resize(static_cast<std::size_t>(tokens * n));
        sine.resize(static_cast<std::size_t>(tokens * n));
        f.by_rows(tokens, n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t t = begin; t < end; ++t) {
                for (std::int64_t i = 0; i < n; ++i) {
                    const auto at = static_cast<std::size_t>(t * n + i), pair = static_cast<std::size_t>(i);
                    const float angle = static_cast<float>(positions[axis[pair] * tokens + t]) * frequencies[pair];
                    cosine[at] = scale * std::cos(angle);
                    sine[at] = scale * std::sin(angle);
                }
            }
        }, 32);
    }
};

Instruction rope(const Node& node, Shared& shared) {
    const Value x = node.inputs[0], positions = node.inputs[1], y = node.outputs[0];
    const WeightPtr frequencies = weight_of(node, 0);
    const bool adjacent = node.attributes.word("pairing") == "adjacent";
    const float scale = static_cast<float>(node.attributes.number("scale"));

    // The position axis that each frequency reads: with sections, that of its section.
    std::vector<int> axis;
    const auto sections = node.attributes.lists.find("sections");
    if (sections != node.attributes.lists.end()) {
        for (std::size_t s = 0; s < sections->second.size(); ++s) axis.insert(axis.end(), static_cast<std::size_t>(sections->second[s]), static_cast<int>(s));
    }
    axis.resize(frequencies->values.size(), 0);
    std::string key = "rotation " + std::to_string(positions.buffer) + " " + std::to_string(reinterpret_cast<std::uintptr_t>(frequencies.get())) + " " +
                      std::to_string(scale);
    for (const int a : axis) key += " " + std::to_string(a);
    std::shared_ptr<void>& found = shared[key];
    if (!found) found = std::make_shared<Rotation>();
    const auto rotation = std::static_pointer_cast<Rotation>(found);

    return {[=](Frame& f) {
        rotation->fill(f, f.i32(positions), frequencies->values, axis, scale);
        const std::int64_t dim = x.columns(), n = static_cast<std::int64_t>(frequencies->values.size());
        const std::int64_t tokens = f.symbols[TOKENS], heads = tokens ? f.rows(x) / tokens : 0;
        const auto turn = adjacent ? f.kernels.rope_adjacent : f.kernels.rope_half;
        const float* from = f.f32(x);
        float* to = f.f32(y);
        f.by_rows(tokens, heads * dim, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t t = begin; t < end; ++t) {
                for (std::int64_t row = t * heads; row < (t + 1) * heads; ++row) {
                    turn(to + row * dim, from + row * dim, rotation->cosine.data() + t * n, rotation->sine.data() + t * n, n, dim);
                }
            }
        }, 2);
    }, {}};
}

}  // namespace

void add_rope_kernels(Kernels& table) { table["rope"] = rope; }

}  // namespace heron
