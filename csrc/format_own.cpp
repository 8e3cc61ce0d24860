// Formats of quantized HF checkpoints, which no GGUF file has: scales are f32. Their bytes: heron/quant/formats.py.
#include "format_bits.h"
#include "format_values.h"

namespace heron {
namespace {

float float_at(const Byte* p) { return float_of(word_at(p, 4)); }

// Code i of a run of 32: of two bits in eight bytes, of one in four.
int two_bits(const Byte* qs, int i) { return qs[i % 8] >> i / 8 * 2 & 3; }
int third_bit(const Byte* qh, int i) { return (qh[i % 4] >> i / 4 & 1) << 2; }

// d q + m, each rounded by itself.
template <class Code>
void affine(const Byte* b, int block, float* x, const Code& code) {
    const float d = float_at(b), m = float_at(b + 4);
    for (int i = 0; i < block; ++i) {
        const float product = d * static_cast<float>(code(i));
        x[i] = product + m;
    }
}

}  // namespace

template <int BLOCK>
void decode_u2(const Byte* b, float* x) {
    affine(b, BLOCK, x, [&](int i) { return two_bits(b + 8 + i / 32 * 8, i % 32); });
}
template <int BLOCK>
void decode_u3(const Byte* b, float* x) {
    affine(b, BLOCK, x, [&](int i) { return two_bits(b + 8 + BLOCK / 8 + i / 32 * 8, i % 32) | third_bit(b + 8 + i / 32 * 4, i % 32); });
}
template <int BLOCK>
void decode_u4(const Byte* b, float* x) {
    affine(b, BLOCK, x, [&](int i) { return nibble(b + 8 + i / 32 * 16, i % 32); });
}
template <int BLOCK>
void decode_u8(const Byte* b, float* x) {
    affine(b, BLOCK, x, [&](int i) { return static_cast<int>(b[8 + i]); });
}
template <int BLOCK>
void decode_i8(const Byte* b, float* x) {
    const float d = float_at(b);
    for (int i = 0; i < BLOCK; ++i) x[i] = d * static_cast<float>(static_cast<std::int8_t>(b[4 + i]));
}
template <int BLOCK>
void decode_e4m3(const Byte* b, float* x) {
    const float d = float_at(b);
    for (int i = 0; i < BLOCK; ++i) {
        const std::uint32_t bits = b[4 + i];
        // The bits of an E4M3, read as those of a float, are the number times 2^-120: exact for subnormals too. NaN is none (see scaled.py).
        x[i] = d * (float_of((bits & 0x80) << 24 | (bits & 0x7f) << 20) * 0x1p120f);
    }
}
void decode_nf4(const Byte* b, float* x) {
    const float d = float_at(b);
    for (int i = 0; i < 64; ++i) x[i] = d * NF4_VALUES[nibble(b + 4 + i / 32 * 16, i % 32)];
}
void decode_fp4(const Byte* b, float* x) {
    const float d = float_at(b);
    for (int i = 0; i < 64; ++i) x[i] = d * FP4_VALUES[nibble(b + 4 + i / 32 * 16, i % 32)];
}

#define HERON_EACH_BLOCK(decode) \
    template void decode<32>(const Byte*, float*); \
    template void decode<64>(const Byte*, float*); \
    template void decode<128>(const Byte*, float*);
HERON_EACH_BLOCK(decode_u2)
HERON_EACH_BLOCK(decode_u3)
HERON_EACH_BLOCK(decode_u4)
HERON_EACH_BLOCK(decode_u8)
HERON_EACH_BLOCK(decode_i8)
HERON_EACH_BLOCK(decode_e4m3)

}  // namespace heron
