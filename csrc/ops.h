// What the files of native ops (ops_*.cpp) share: each adds its kernels to the table, op name -> maker of instructions.
#pragma once

#include "program.h"

namespace heron {

void add_row_kernels(Kernels& table);
void add_shape_kernels(Kernels& table);
void add_routing_kernels(Kernels& table);
void add_linear_kernels(Kernels& table);
void add_rope_kernels(Kernels& table);
void add_attention_kernels(Kernels& table);
void add_recurrent_kernels(Kernels& table);

inline WeightPtr weight_of(const Node& node, std::size_t i) { return i < node.weights.size() ? node.weights[i] : nullptr; }

// How the node's products take their activations.
inline Mode mode_of(const Node& node) { return node.attributes.number("f32") != 0 ? Mode::f32 : Mode::int8; }

// Attributes of activations and of glu.
Activation activation_of(const Node& node);
Glu glu_of(const Node& node);

inline std::int64_t aligned(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }  // to whole cache lines

// Where the rows of an operand lie that stretches to another shape, by numpy's rule.
class Broadcast {
public:
    static constexpr std::size_t MOST_AXES = 6;

    bool same;    // the operand has the shape itself
    bool single;  // its last axis stretches: each row is one element

    Broadcast(const Frame& f, const Value& operand, const Value& to) : data_(f.f32(operand)) {
        std::int64_t from[MOST_AXES];
        for (std::size_t i = 0; i < operand.shape.size(); ++i) from[i] = f.size(operand.shape[i]);
        measure(f, from, operand.shape.size(), to);
    }
    Broadcast(const Frame& f, const Weight& operand, const Value& to) : data_(operand.values.data()) {
        measure(f, operand.shape.data(), operand.shape.size(), to);
    }

    // The operand's row beside row r of the result.
    const float* row(std::int64_t r) const {
        std::int64_t offset = 0;
        for (int i = axes_ - 1; i >= 0; --i) {
            offset += r % size_[i] * stride_[i];
            r /= size_[i];
        }
        return data_ + offset;
    }

private:
    void measure(const Frame& f, const std::int64_t* from, std::size_t from_axes, const Value& to);

    const float* data_;
    int axes_ = 0;  // of the result, but the last
    std::int64_t size_[MOST_AXES] = {}, stride_[MOST_AXES] = {};
};

// y = a op b on rows of n elements, one of which may be a single element that stretches; op is commutative.
template <class Rows, class Scalar>
void combine_row(const Rows& rows, const Scalar& scalar, float* y, const float* a, bool a_single, const float* b, bool b_single, std::int64_t n) {
    if (a_single) {
        scalar(y, b, *a, n);
    } else if (b_single) {
        scalar(y, a, *b, n);
    } else {
        rows(y, a, b, n);
    }
}

}  // namespace heron
