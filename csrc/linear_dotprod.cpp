#define HERON_VECTOR dotprod
#define HERON_LINEAR LINEAR_DOTPROD
#include "linear.h"
#include "format_values.h"
#include "integers.h"

#include "linear_formats.inc"
#include "linear_tables.inc"
#include "linear_grids.inc"
#include "linear_own.inc"
#include "linear_prepare.inc"
#include "linear_finish.inc"
#include "linear.inc"
#include "limits.inc"
#include "linear_table.inc"
#include "linear_kernels.inc"
