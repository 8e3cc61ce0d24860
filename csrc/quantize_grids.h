// The grids of IQ1, IQ2 and IQ3 as searches want them: an entry's numbers of levels side by side in sixteen bits.
#pragma once

#include <cstdint>

namespace heron {

// Entries of eight values are numbers of two bits, entries of four values numbers of four.
struct GridWords {
    int entries, values, bits;
    const std::uint16_t* words;
};

extern const GridWords WORDS_IQ1, WORDS_IQ2_XXS, WORDS_IQ2_XS, WORDS_IQ2_S, WORDS_IQ3_XXS, WORDS_IQ3_S;

}  // namespace heron
