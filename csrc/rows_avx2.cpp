#define HERON_VECTOR avx2
#define HERON_ROWS ROWS_AVX2
#include "rows.h"
#include "vector.h"

#include "rows.inc"
#include "attend.inc"
#include "recurrent.inc"
#include "rows_table.inc"
