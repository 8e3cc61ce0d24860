// Formats whose few bits number the values of a short table, or are digits.
#include "format_bits.h"
#include "format_values.h"

namespace heron {
namespace {

// Half of 2^(e - 127), in the subnormal range too.
float half_of_e8m0(std::uint32_t e) { return float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23); }

// Half of an E4M3 whose sign does not count and whose NaN is 0.
float half_of_e4m3(std::uint32_t bits) {
    const std::uint32_t exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0.0f;
    return exponent ? float_of((exponent + 119) << 23 | mantissa << 20) : static_cast<float>(mantissa) * 0x1p-10f;
}

// Digit k of a byte that holds base-3 digits as a fraction of 256, less one.
float trit(Byte packed, int k) {
    constexpr int POWERS[5] = {1, 3, 9, 27, 81};
    const auto shifted = static_cast<Byte>(packed * POWERS[k]);
    return static_cast<float>((shifted * 3 >> 8) - 1);
}

}  // namespace

void decode_iq4_nl(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(IQ4_VALUES[nibble(b + 2, i)]);
}

void decode_iq4_xs(const Byte* b, float* x) {
    const float d_all = half_at(b);
    const std::uint32_t high = word_at(b + 2, 2), low = word_at(b + 4, 4);
    for (int g = 0; g < 8; ++g) {
        const std::uint32_t scale = (low >> 4 * g & 15) | (high >> 2 * g & 3) << 4;
        const float d = d_all * static_cast<float>(static_cast<int>(scale) - 32);
        for (int i = 0; i < 32; ++i) x[32 * g + i] = d * static_cast<float>(IQ4_VALUES[nibble(b + 8 + 16 * g, i)]);
    }
}

void decode_mxfp4(const Byte* b, float* x) {
    const float d = half_of_e8m0(b[0]);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(E2M1_DOUBLED[nibble(b + 1, i)]);
}

void decode_nvfp4(const Byte* b, float* x) {
    for (int i = 0; i < 64; ++i) {
        const Byte pair = b[4 + i / 16 * 8 + i % 8];
        x[i] = half_of_e4m3(b[i / 16]) * static_cast<float>(E2M1_DOUBLED[i % 16 < 8 ? pair & 15 : pair >> 4]);
    }
}

void decode_tq1_0(const Byte* b, float* x) {
    const float d = half_at(b + 52);
    for (int i = 0; i < 160; ++i) x[i] = d * trit(b[i % 32], i / 32);
    for (int i = 0; i < 80; ++i) x[160 + i] = d * trit(b[32 + i % 16], i / 16);
    for (int i = 0; i < 16; ++i) x[240 + i] = d * trit(b[48 + i % 4], i / 4);
}

void decode_tq2_0(const Byte* b, float* x) {
    const float d = half_at(b + 64);
    for (int i = 0; i < 256; ++i) x[i] = d * static_cast<float>((b[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
}

void decode_q1_0(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 128; ++i) x[i] = b[2 + i / 8] >> i % 8 & 1 ? d : -d;
}

void decode_q2_0(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 64; ++i) x[i] = d * static_cast<float>((b[2 + i / 4] >> i % 4 * 2 & 3) - 1);
}

}  // namespace heron
