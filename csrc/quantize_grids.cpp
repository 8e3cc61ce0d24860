#include "quantize_grids.h"

#include <algorithm>
#include <vector>

namespace heron {
namespace {

#define LEVELS(...)
#define HERON_GRID(name, values, bits, levels, ...) constexpr std::uint16_t name[] = {__VA_ARGS__};
#include "../heron/quant/codebooks.inc"
#undef HERON_GRID
#undef LEVELS

// Squares of the differences of the numbers in a byte, by both bytes.
std::vector<std::uint8_t> distances(int bits) {
    std::vector<std::uint8_t> table(65536);
    for (int a = 0; a < 256; ++a) {
        for (int b = 0; b < 256; ++b) {
            int sum = 0;
            for (int at = 0; at < 8; at += bits) {
                const int off = (a >> at & ((1 << bits) - 1)) - (b >> at & ((1 << bits) - 1));
                sum += off * off;
            }
            table[static_cast<std::size_t>(a * 256 + b)] = static_cast<std::uint8_t>(std::min(sum, 120));
        }
    }
    return table;
}

// Of `levels` levels in each of `values` values; `near` is kept as long as the program runs.
template <std::size_t COUNT>
SearchGrid grid(const std::uint16_t (&words)[COUNT], int values, int levels, int neighbours) {
    const int bits = 16 / values;
    const std::vector<std::uint8_t> off = distances(bits);
    int points = 1;
    for (int i = 0; i < values; ++i) points *= levels;
    auto* near = new std::uint16_t[static_cast<std::size_t>(points) * static_cast<std::size_t>(neighbours)];
    for (int point = 0; point < points; ++point) {
        unsigned word = 0;
        for (int i = 0, rest = point; i < values; ++i, rest /= levels) word |= static_cast<unsigned>(rest % levels) << bits * i;
        const std::uint8_t *low = off.data() + (word & 255) * 256, *high = off.data() + (word >> 8) * 256;
        std::uint8_t distance[COUNT];
        int places[256] = {};  // by distance: where the next entry that far goes
        for (std::size_t i = 0; i < COUNT; ++i) {
            distance[i] = static_cast<std::uint8_t>(low[words[i] & 255] + high[words[i] >> 8]);
            ++places[distance[i] + 1];
        }
        for (int i = 1; i < 256; ++i) places[i] += places[i - 1];
        std::uint16_t* to = near + static_cast<std::size_t>(point) * static_cast<std::size_t>(neighbours);
        for (std::size_t i = 0; i < COUNT; ++i) {
            const int place = places[distance[i]]++;
            if (place < neighbours) to[place] = words[i];
        }
    }
    return {words, static_cast<int>(COUNT), neighbours, near};
}

}  // namespace

int SearchGrid::entry_of(std::uint16_t word) const { return static_cast<int>(std::lower_bound(words, words + count, word) - words); }

const SearchGrid& grid_iq1() {
    static const SearchGrid made = grid(IQ1_S, 8, 3, 32);
    return made;
}
const SearchGrid& grid_iq2_xxs() {
    static const SearchGrid made = grid(IQ2_XXS, 8, 3, 32);
    return made;
}
const SearchGrid& grid_iq2_xs() {
    static const SearchGrid made = grid(IQ2_XS, 8, 3, 32);
    return made;
}
const SearchGrid& grid_iq2_s() {
    static const SearchGrid made = grid(IQ2_S, 8, 3, 32);
    return made;
}
const SearchGrid& grid_iq3_xxs() {
    static const SearchGrid made = grid(IQ3_XXS, 4, 8, 32);
    return made;
}
const SearchGrid& grid_iq3_s() {
    static const SearchGrid made = grid(IQ3_S, 4, 8, 32);
    return made;
}

}  // namespace heron
