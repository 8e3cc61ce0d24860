// Formats whose elements, in fours or eights, are entries of a grid.
#include <array>
#include <cstddef>

#include "format_bits.h"
#include "format_values.h"

namespace heron {
namespace {

template <std::size_t ENTRIES, int VALUES>
using Grid = std::array<std::array<std::uint8_t, VALUES>, ENTRIES>;

template <int VALUES, int BITS, std::size_t LEVELS, std::size_t ENTRIES>
constexpr Grid<ENTRIES, VALUES> expanded(const std::int8_t (&levels)[LEVELS], const std::uint16_t (&entries)[ENTRIES]) {
    Grid<ENTRIES, VALUES> grid{};
    for (std::size_t i = 0; i < ENTRIES; ++i) {
        for (int j = 0; j < VALUES; ++j) {
            const int level = levels[entries[i] >> j * BITS & ((1 << BITS) - 1)];
            grid[i][static_cast<std::size_t>(j)] = static_cast<std::uint8_t>(level + (levels[0] < 0));  // IQ1's become 0, 1 and 2
        }
    }
    return grid;
}

// The grids are Python's, read from its own file, so that there is one copy.
#define LEVELS(...) {__VA_ARGS__}
#define HERON_GRID(name, values, bits, levels, ...) alignas(64) constexpr auto name = expanded<values, bits>(levels, {__VA_ARGS__});
#include "../heron/quant/codebooks.inc"
#undef HERON_GRID
#undef LEVELS

// Eight signs from seven bits: the eighth is set where it makes the number of minus signs even.
constexpr auto EVEN_SIGNS = [] {
    std::array<Byte, 128> signs{};
    for (unsigned i = 0; i < 128; ++i) {
        unsigned odd = 0;
        for (unsigned bits = i; bits; bits >>= 1) odd ^= bits & 1;
        signs[i] = static_cast<Byte>(i | odd << 7);
    }
    return signs;
}();

// The next values of x: an entry's, those with a bit in `signs` negative.
template <std::size_t VALUES>
void put(float*& x, float scale, const std::array<std::uint8_t, VALUES>& entry, unsigned signs) {
    for (std::size_t i = 0; i < VALUES; ++i) {
        const float value = scale * static_cast<float>(entry[i]);
        *x++ = signs >> i & 1 ? -value : value;
    }
}

// IQ1's: three values, to all of which the same eighth is added, or taken from them.
void put(float*& x, float scale, std::uint32_t index, bool minus) {
    for (const std::uint8_t value : IQ1_S[index]) *x++ = scale * (static_cast<float>(value) - 1.0f + (minus ? -0.125f : 0.125f));
}

float scale_of(float d, std::uint32_t bits, float unit) { return d * (0.5f + static_cast<float>(bits)) * unit; }

}  // namespace

const std::uint8_t *const GRID_IQ1 = IQ1_S[0].data(), *const GRID_IQ2_XXS = IQ2_XXS[0].data(), *const GRID_IQ2_XS = IQ2_XS[0].data();
const std::uint8_t *const GRID_IQ2_S = IQ2_S[0].data(), *const GRID_IQ3_XXS = IQ3_XXS[0].data(), *const GRID_IQ3_S = IQ3_S[0].data();

void decode_iq2_xxs(const Byte* b, float* x) {
    const float d = half_at(b);
    b += 2;
    for (int g = 0; g < 8; ++g, b += 8) {
        const std::uint32_t signs = word_at(b + 4, 4);
        for (int i = 0; i < 4; ++i) put(x, scale_of(d, signs >> 28, 0.25f), IQ2_XXS[b[i]], EVEN_SIGNS[signs >> 7 * i & 127]);
    }
}

void decode_iq2_xs(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) {
        const std::uint32_t word = word_at(b + 2 + 2 * i, 2), scale = b[66 + i / 4] >> i / 2 % 2 * 4 & 15;
        put(x, scale_of(d, scale, 0.25f), IQ2_XS[word & 511], EVEN_SIGNS[word >> 9]);
    }
}

void decode_iq2_s(const Byte* b, float* x) {
    const Byte *qs = b + 2, *signs = b + 34, *qh = b + 66, *scales = b + 74;
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) {
        const std::uint32_t index = qs[i] | (qh[i / 4] >> i % 4 * 2 & 3u) << 8, scale = scales[i / 4] >> i / 2 % 2 * 4 & 15;
        put(x, scale_of(d, scale, 0.25f), IQ2_S[index], signs[i]);
    }
}

void decode_iq3_xxs(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 64; ++i) {
        const std::uint32_t word = word_at(b + 66 + i / 8 * 4, 4), signs = EVEN_SIGNS[word >> i / 2 % 4 * 7 & 127];
        put(x, scale_of(d, word >> 28, 0.5f), IQ3_XXS[b[2 + i]], signs >> i % 2 * 4);
    }
}

void decode_iq3_s(const Byte* b, float* x) {
    const Byte *qs = b + 2, *qh = b + 66, *signs = b + 74, *scales = b + 106;
    const float d = half_at(b);
    for (int i = 0; i < 64; ++i) {
        const std::uint32_t index = qs[i] | (qh[i / 8] >> i % 8 & 1u) << 8, scale = scales[i / 16] >> i / 8 % 2 * 4 & 15;
        put(x, d * static_cast<float>(1 + 2 * scale), IQ3_S[index], static_cast<unsigned>(signs[i / 2]) >> i % 2 * 4);
    }
}

void decode_iq1_s(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) {
        const std::uint32_t word = word_at(b + 34 + i / 4 * 2, 2), index = b[2 + i] | (word >> i % 4 * 3 & 7) << 8;
        put(x, d * static_cast<float>(2 * (word >> 12 & 7) + 1), index, word >> 15);
    }
}

void decode_iq1_m(const Byte* b, float* x) {
    const Byte *qs = b, *qh = b + 32, *scales = b + 48;
    std::uint32_t half = 0;  // its bits are the highest four of each word of scales
    for (int i = 0; i < 4; ++i) half |= static_cast<std::uint32_t>(scales[2 * i + 1] >> 4) << 4 * i;
    const float d = half_of(half);
    for (int i = 0; i < 32; ++i) {
        const std::uint32_t high = qh[i / 2] >> i % 2 * 4, scale = word_at(scales + i / 8 * 2, 2) >> i / 2 % 4 * 3 & 7;
        put(x, d * static_cast<float>(2 * scale + 1), qs[i] | (high & 7) << 8, high >> 3 & 1);
    }
}

}  // namespace heron
