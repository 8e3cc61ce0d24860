#include "rows.h"

namespace heron {

const RowKernels& row_kernels(Isa isa) {
    switch (isa) {
#if defined(__x86_64__) || defined(_M_X64)
        case Isa::amx:
        case Isa::avx512: return ROWS_AVX512;
        case Isa::avx2: return ROWS_AVX2;
#elif defined(__aarch64__)
        case Isa::i8mm:
        case Isa::dotprod:
        case Isa::neon: return ROWS_NEON;
#endif
        default: return ROWS_PORTABLE;
    }
}

}  // namespace heron
