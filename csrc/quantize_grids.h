// The grids of IQ1, IQ2 and IQ3 as searches want them: the numbers of an entry's levels side by side in sixteen bits, a word.
#pragma once

#include <cstdint>

namespace heron {

// Words of eight values have two bits for each, those of four values four. Plain data, which code for any instruction set may read.
struct SearchGrid {
    const std::uint16_t* words;  // rising
    int count;
    int neighbours;  // of a point: a multiple of sixteen
    // The entries nearest to any numbers of levels, [points, neighbours], the nearest first; a point is the sum of number * levels^i.
    const std::uint16_t* near;

    int entry_of(std::uint16_t word) const;
};

// Made when they are first asked for: some milliseconds.
const SearchGrid& grid_iq1();
const SearchGrid& grid_iq2_xxs();
const SearchGrid& grid_iq2_xs();
const SearchGrid& grid_iq2_s();
const SearchGrid& grid_iq3_xxs();
const SearchGrid& grid_iq3_s();

}  // namespace heron
