// Reading numbers out of the bytes of a block, for the decoders of format*.cpp.
#pragma once

#include <cstdint>
#include <cstring>

namespace heron {

using Byte = std::uint8_t;

static inline std::uint32_t word_at(const Byte* p, int bytes) {
    std::uint32_t word = 0;
    for (int i = 0; i < bytes; ++i) word |= static_cast<std::uint32_t>(p[i]) << 8 * i;
    return word;
}

static inline float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline float half_of(std::uint32_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // The half's bits, read as those of a float, are the number times 2^-112: exact for subnormals too.
    return (sign ? -5.192296858534828e33f : 5.192296858534828e33f) * float_of(rest << 13);
}
static inline float half_at(const Byte* p) { return half_of(word_at(p, 2)); }

// Element i of 32 in 16 bytes: the low nibbles are the first 16.
static inline int nibble(const Byte* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

// One block -> floats, bit for bit as ggml defines them. In format_tables.cpp:
void decode_iq4_nl(const Byte* b, float* x);
void decode_iq4_xs(const Byte* b, float* x);
void decode_mxfp4(const Byte* b, float* x);
void decode_nvfp4(const Byte* b, float* x);
void decode_tq1_0(const Byte* b, float* x);
void decode_tq2_0(const Byte* b, float* x);
void decode_q1_0(const Byte* b, float* x);
void decode_q2_0(const Byte* b, float* x);
// In format_own.cpp, for blocks of 32, 64 and 128:
template <int BLOCK> void decode_u2(const Byte* b, float* x);
template <int BLOCK> void decode_u3(const Byte* b, float* x);
template <int BLOCK> void decode_u4(const Byte* b, float* x);
template <int BLOCK> void decode_u8(const Byte* b, float* x);
template <int BLOCK> void decode_i8(const Byte* b, float* x);
template <int BLOCK> void decode_e4m3(const Byte* b, float* x);
void decode_nf4(const Byte* b, float* x);
void decode_fp4(const Byte* b, float* x);
// In format_grids.cpp:
void decode_iq1_s(const Byte* b, float* x);
void decode_iq1_m(const Byte* b, float* x);
void decode_iq2_xxs(const Byte* b, float* x);
void decode_iq2_xs(const Byte* b, float* x);
void decode_iq2_s(const Byte* b, float* x);
void decode_iq3_xxs(const Byte* b, float* x);
void decode_iq3_s(const Byte* b, float* x);

}  // namespace heron
