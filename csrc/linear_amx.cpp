// Products in tiles (AMX): the weights and their layout are AVX-512's, the activations lie in rows. With int8 a tile
// gives the same integers as AVX-512's dot products, and the rest is done in the same order: the numbers are the same bit
// for bit. Other weights are multiplied as sums of two bf16, which together have 16 bits of a number's digits.
#define HERON_VECTOR amx
#include "linear.h"
#include "format_values.h"
#include "integers.h"

#include "linear_formats.inc"
#include "linear_tables.inc"
#include "linear_grids.inc"
#include "linear_own.inc"
#include "linear_prepare.inc"
#include "linear_finish.inc"
#include "amx_tiles.inc"
#include "amx_int8.inc"
#include "amx_pairs.inc"
#include "amx_limits.inc"

namespace heron::amx {

static void prepare_tile(ActivationKind kind, const float* x, const std::int64_t* rows, int count, std::int64_t k, std::uint8_t* to) {
    if (kind.q8) {
        for (std::int64_t g = 0; g < k / GROUP; ++g, to += group_bytes(kind.parts) * count) {
            auto* q = reinterpret_cast<std::int8_t*>(to + 8 * count);
            for (int n = 0; n < count; ++n) quantize_group(kind, x + rows[n] + g * GROUP, q + GROUP * n, to + 4 * n, 4 * count);
        }
        return;
    }
    for (std::int64_t i = 0; i < k; i += GROUP, to += 2 * LANE * count) {
        const int left = static_cast<int>(smaller(GROUP, k - i));
        for (int n = 0; n < count; ++n) {
            const float* from = x + rows[n] + i;
            const Vec low = left < W ? load_first(from, left) : load(from);
            const Vec high = left == GROUP ? load(from + W) : left > W ? load_first(from + W, left - W) : all(0.0f);
            const __m256bh low_whole = _mm512_cvtneps_pbh(low), high_whole = _mm512_cvtneps_pbh(high);
            const __m512bh whole = _mm512_cvtne2ps_pbh(high, low), rest = _mm512_cvtne2ps_pbh(sub(high, float_of(high_whole)), sub(low, float_of(low_whole)));
            std::memcpy(to + LANE * n, &whole, LANE);
            std::memcpy(to + LANE * (count + n), &rest, LANE);
        }
    }
}

// Weights with two scales in 32 elements are multiplied faster without tiles, whose sums would be taken up twice.
template <class F>
constexpr LinearKernel quantized() {
    if constexpr (F::PARTS == 1) return {F::ID, quantized_kind<F>(), product_int8<F>, nullptr};
    return {F::ID, quantized_kind<F>(), nullptr, nullptr};
}
template <class F>
constexpr LinearKernel gathered() {
    return quantized<F>();
}
template <class F>
constexpr LinearKernel plain() {
    if constexpr (F::ID == F16::ID) return {F::ID, {.pairs = true}, product_f16, nullptr};
    if constexpr (F::ID == BF16::ID) return {F::ID, {.pairs = true}, product_bf16, nullptr};
    return {F::ID, {}, nullptr, nullptr};
}

template <class F>
constexpr LinearKernel numbers() {
    return {F::ID, {}, nullptr, nullptr};
}

}  // namespace heron::amx

#include "linear_table.inc"

namespace heron {

const TileKernels TILES_AMX = {
    .tile = amx::TOKENS,
    .table = amx::TABLE,
    .decoded = amx::product_decoded,
    .prepare_tile = amx::prepare_tile,
    .multiply_int8 = amx::multiply_tiles_int8,
    .multiply_bf16 = amx::multiply_tiles_bf16,
};

}  // namespace heron
