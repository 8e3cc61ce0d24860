#define HERON_VECTOR portable
#define HERON_ROWS ROWS_PORTABLE
#include "rows.h"
#include "vector.h"

#include "rows.inc"
#include "attend.inc"
#include "recurrent.inc"
#include "rows_table.inc"
