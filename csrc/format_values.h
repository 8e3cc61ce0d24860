// What the codes of formats stand for, where that is not the code itself: for the decoders (format_*.cpp) and the kernels.
#pragma once

#include <cstdint>

namespace heron {

constexpr std::int8_t IQ4_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// E2M1 doubled, so that all are integers; the scales are halved in return.
constexpr std::int8_t E2M1_DOUBLED[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Such values as kernels want them: unsigned.
struct Raised {
    std::uint8_t values[16];
};
constexpr Raised raised(const std::int8_t (&values)[16], int by) {
    Raised to{};
    for (int i = 0; i < 16; ++i) to.values[i] = static_cast<std::uint8_t>(values[i] + by);
    return to;
}

// bitsandbytes' tables: quantiles of a normal distribution, and a float of its own (heron/quant/decode_own.py).
inline constexpr float NF4_VALUES[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
                                  -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
                                  0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
                                  0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
inline constexpr float FP4_VALUES[16] = {0.0f, 1.0f / 192, 2.0f / 3, 1.0f, 1.0f / 3, 0.5f, 1.0f / 6, 0.25f,
                                  0.0f, -1.0f / 192, -2.0f / 3, -1.0f, -1.0f / 3, -0.5f, -1.0f / 6, -0.25f};

// The grids of IQ1, IQ2 and IQ3 (format_grids.cpp): entries of eight bytes, or four for IQ3. IQ1's are raised by one, to 0, 1 and 2.
extern const std::uint8_t *const GRID_IQ1, *const GRID_IQ2_XXS, *const GRID_IQ2_XS, *const GRID_IQ2_S;
extern const std::uint8_t *const GRID_IQ3_XXS, *const GRID_IQ3_S;

}  // namespace heron
