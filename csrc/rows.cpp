#include <cstdlib>
#include <cstring>

#include "rows.h"

namespace heron {
const RowKernels& row_kernels() {
    const char* s = std::getenv("HERON_ISA");
    if (s && !std::strcmp(s, "portable")) return ROWS_PORTABLE;
    if (s && !std::strcmp(s, "avx2")) return ROWS_AVX2;
    return ROWS_AVX512;
}
}  // namespace heron
