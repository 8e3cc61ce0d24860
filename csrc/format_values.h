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

// The grids of IQ1, IQ2 and IQ3 (format_grids.cpp): entries of eight bytes, or four for IQ3. IQ1's are raised by one, to 0, 1 and 2.
extern const std::uint8_t *const GRID_IQ1, *const GRID_IQ2_XXS, *const GRID_IQ2_XS, *const GRID_IQ2_S;
extern const std::uint8_t *const GRID_IQ3_XXS, *const GRID_IQ3_S;

}  // namespace heron
