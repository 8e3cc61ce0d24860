#include "quantize_grids.h"

#include <algorithm>

namespace heron {
namespace {

#define LEVELS(...)
#define HERON_GRID(name, values, bits, levels, ...) constexpr std::uint16_t name[] = {__VA_ARGS__};
#include "../heron/quant/codebooks.inc"
#undef HERON_GRID
#undef LEVELS

template <std::size_t COUNT>
SearchGrid grid(const std::uint16_t (&words)[COUNT], int values, int levels, int neighbours) {
    return SearchGrid(words, static_cast<int>(COUNT), values, levels, neighbours);
}

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
            table[static_cast<std::size_t>(a * 256 + b)] = static_cast<std::uint8_t>(std::min(sum, 127));
        }
    }
    return table;
}

}  // namespace

SearchGrid::SearchGrid(const std::uint16_t* words, int count, int values, int levels, int neighbours) : words_(words), count_(count), neighbours_(neighbours) {
    const int bits = 16 / values;
    const std::vector<std::uint8_t> off = distances(bits);
    int points = 1;
    for (int i = 0; i < values; ++i) points *= levels;
    near_.resize(static_cast<std::size_t>(points) * static_cast<std::size_t>(neighbours));
    std::vector<std::uint8_t> distance(static_cast<std::size_t>(count));
    for (int point = 0; point < points; ++point) {
        unsigned word = 0;
        for (int i = 0, rest = point; i < values; ++i, rest /= levels) word |= static_cast<unsigned>(rest % levels) << bits * i;
        const std::uint8_t *low = off.data() + (word & 255) * 256, *high = off.data() + (word >> 8) * 256;
        int starts[257] = {};  // by distance: how many are nearer, once summed up
        for (int i = 0; i < count; ++i) {
            distance[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(low[words[i] & 255] + high[words[i] >> 8]);
            ++starts[distance[static_cast<std::size_t>(i)]  + 1];
        }
        for (int i = 1; i < 257; ++i) starts[i] += starts[i - 1];
        std::uint16_t* to = near_.data() + static_cast<std::size_t>(point) * static_cast<std::size_t>(neighbours);
        for (int i = 0; i < count; ++i) {
            const int place = starts[distance[static_cast<std::size_t>(i)]]++;
            if (place < neighbours) to[place] = words[i];
        }
    }
}

int SearchGrid::entry_of(std::uint16_t word) const { return static_cast<int>(std::lower_bound(words_, words_ + count_, word) - words_); }

const SearchGrid& grid_iq1() {
    static const SearchGrid made = grid(IQ1_S, 8, 3, 64);
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
