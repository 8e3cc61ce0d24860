// The instruction sets that kernels are compiled for, and which of them runs.
#pragma once

#include <string>
#include <vector>

namespace heron {

// dotprod: NEON with products of four bytes (FEAT_DotProd); i8mm: and of matrices of bytes (FEAT_I8MM); avx512: F, BW, VL, DQ and VNNI; amx: these, AVX512-BF16, AMX for int8 and bf16
enum class Isa { portable, neon, dotprod, i8mm, avx2, avx512, amx };

const char* name_of(Isa isa);
bool runs_here(Isa isa);

// Those that run on this CPU, the best last.
std::vector<Isa> isas_here();

// The one that the environment's HERON_ISA names, or the best. Throws std::runtime_error where it names none that runs here.
Isa chosen_isa();

}  // namespace heron
