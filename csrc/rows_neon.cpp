#define HERON_VECTOR neon
#define HERON_ROWS ROWS_NEON
#include "rows.h"
#include "vector.h"

#include "rows.inc"
#include "attend.inc"
#include "recurrent.inc"
#include "rows_table.inc"
