#define HERON_VECTOR avx512
#define HERON_ENCODERS ENCODERS_AVX512
#include "format_values.h"
#include "quantize.h"
#include "quantize_grids.h"
#include "vector.h"

#include "quantize_lanes.inc"
#include "quantize_rules.inc"
#include "quantize_search.inc"
#include "quantize_range.inc"
#include "quantize_blocks.inc"
#include "quantize_super.inc"
#include "quantize_nearest.inc"
#include "quantize_grids.inc"
#include "quantize_iq1.inc"
#include "quantize_table.inc"
