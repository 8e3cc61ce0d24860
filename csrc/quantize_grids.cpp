#include "quantize_grids.h"

namespace heron {
namespace {

#define LEVELS(...)
#define HERON_GRID(name, values, bits, levels, ...)            \
    alignas(64) constexpr std::uint16_t name[] = {__VA_ARGS__}; \
    constexpr GridWords name##_WORDS{static_cast<int>(sizeof name / sizeof *name), values, bits, name};
#include "../heron/quant/codebooks.inc"
#undef HERON_GRID
#undef LEVELS

}  // namespace

const GridWords WORDS_IQ1 = IQ1_S_WORDS, WORDS_IQ2_XXS = IQ2_XXS_WORDS, WORDS_IQ2_XS = IQ2_XS_WORDS, WORDS_IQ2_S = IQ2_S_WORDS;
const GridWords WORDS_IQ3_XXS = IQ3_XXS_WORDS, WORDS_IQ3_S = IQ3_S_WORDS;

}  // namespace heron
