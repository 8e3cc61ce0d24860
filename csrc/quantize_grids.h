// The grids of IQ1, IQ2 and IQ3 as searches want them: the numbers of an entry's levels side by side in sixteen bits, a word.
#pragma once

#include <cstdint>
#include <vector>

namespace heron {

// Words of eight values have two bits for each, those of four values four.
class SearchGrid {
public:
    // `words` rise; of `levels` levels each. A point's neighbours are a multiple of sixteen.
    SearchGrid(const std::uint16_t* words, int count, int values, int levels, int neighbours);

    const std::uint16_t* words() const { return words_; }
    int count() const { return count_; }
    int neighbours() const { return neighbours_; }
    // The entries nearest to any numbers of levels, the nearest first; a point is the sum of number * levels^i.
    const std::uint16_t* near(int point) const { return near_.data() + point * neighbours_; }
    int entry_of(std::uint16_t word) const;

private:
    const std::uint16_t* words_;
    int count_, neighbours_;
    std::vector<std::uint16_t> near_;
};

// Made when they are first asked for: some milliseconds.
const SearchGrid& grid_iq1();
const SearchGrid& grid_iq2_xxs();
const SearchGrid& grid_iq2_xs();
const SearchGrid& grid_iq2_s();
const SearchGrid& grid_iq3_xxs();
const SearchGrid& grid_iq3_s();

}  // namespace heron
