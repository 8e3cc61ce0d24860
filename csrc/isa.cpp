#include "isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

#include "platform.h"

namespace heron {
namespace {

constexpr Isa ALL[] = {Isa::portable, Isa::neon, Isa::dotprod, Isa::i8mm, Isa::avx2, Isa::avx512, Isa::amx};

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
bool has_f16c() {  // whose name not every compiler takes
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
bool has_amx() {
#ifdef HERON_AMX
    unsigned a, b, c, d, a1, b1, c1, d1;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) return false;
    const bool tiles = d >> 24 & 1, int8 = d >> 25 & 1, bf16 = (d >> 22 & 1) && (a1 >> 5 & 1);
    return tiles && int8 && bf16 && allow_tiles();
#else
    return false;
#endif
}
#elif defined(_MSC_VER) && defined(_M_X64)
bool has_amx() { return false; }
// Bits of CPUID leaves 1 and 7, and of the register state that the system saves (XCR0).
bool has_avx2() {
    int one[4], seven[4];
    __cpuid(one, 1);
    __cpuidex(seven, 7, 0);
    const bool saved = (one[2] >> 27 & 1) && (_xgetbv(0) & 6) == 6;
    return saved && (one[2] >> 12 & 1) && (one[2] >> 29 & 1) && (seven[1] >> 5 & 1);
}
bool has_avx512() {
    int seven[4];
    __cpuidex(seven, 7, 0);
    const bool f = seven[1] >> 16 & 1, dq = seven[1] >> 17 & 1, bw = seven[1] >> 30 & 1, vl = seven[1] >> 31 & 1, vnni = seven[2] >> 11 & 1;
    return has_avx2() && (_xgetbv(0) & 0xe6) == 0xe6 && f && dq && bw && vl && vnni;
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_amx() { return false; }
#endif

// Every aarch64 CPU has NEON; the kernels are compiled by GCC and Clang alone.
constexpr bool has_neon() {
#if defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

}  // namespace

const char* name_of(Isa isa) {
    constexpr const char* NAMES[] = {"portable", "neon", "dotprod", "i8mm", "avx2", "avx512", "amx"};
    return NAMES[static_cast<int>(isa)];
}

bool runs_here(Isa isa) {
    static const bool here[] = {true, has_neon(), has_neon() && has_dot_products(), has_neon() && has_dot_products() && has_matrix_products(), has_avx2(), has_avx512(), has_amx()};
    return here[static_cast<int>(isa)];
}

std::vector<Isa> isas_here() {
    std::vector<Isa> here;
    for (const Isa isa : ALL) {
        if (runs_here(isa)) here.push_back(isa);
    }
    return here;
}

Isa chosen_isa() {
    const std::vector<Isa> here = isas_here();
    const char* wanted = std::getenv("HERON_ISA");
    if (!wanted || !*wanted) return here.back();
    std::string known;
    for (const Isa isa : here) {
        if (std::string(wanted) == name_of(isa)) return isa;
        known += known.empty() ? name_of(isa) : std::string(", ") + name_of(isa);
    }
    throw std::runtime_error(std::string("HERON_ISA names ") + wanted + ", which this CPU does not run; it runs " + known);
}

}  // namespace heron
