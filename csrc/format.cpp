#include "format.h"

#include <cstring>

#include "format_bits.h"

namespace heron {
namespace {

// The order of the f32 operations is ggml's, so that results are its own bit for bit.

void decode_f32(const Byte* b, float* x) { *x = float_of(word_at(b, 4)); }
void decode_f16(const Byte* b, float* x) { *x = half_at(b); }
void decode_bf16(const Byte* b, float* x) { *x = float_of(word_at(b, 2) << 16); }

int fifth_bit(const Byte* qh, int i) { return (qh[i / 8] >> i % 8 & 1) << 4; }

void decode_q4_0(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 2, i) - 8);
}
void decode_q4_1(const Byte* b, float* x) {
    const float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}
void decode_q5_0(const Byte* b, float* x) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>((nibble(b + 6, i) | fifth_bit(b + 2, i)) - 16);
}
void decode_q5_1(const Byte* b, float* x) {
    const float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 8, i) | fifth_bit(b + 4, i)) + m;
}
void decode_bytes(float d, const Byte* qs, int count, float* x) {
    for (int i = 0; i < count; ++i) x[i] = d * static_cast<float>(static_cast<std::int8_t>(qs[i]));
}
void decode_q8_0(const Byte* b, float* x) { decode_bytes(half_at(b), b + 2, 32, x); }
void decode_q8_1(const Byte* b, float* x) { decode_bytes(half_at(b), b + 4, 32, x); }  // after d, the sum of the quants
void decode_q8_k(const Byte* b, float* x) { decode_bytes(float_of(word_at(b, 4)), b + 4, 256, x); }

// 32 bits, of which bit 4j + i becomes bit 8i + j: four neighbours come to lie in the same place of four bytes.
void spread_bits(Byte* bits, bool back) {
    const std::uint32_t from = word_at(bits, 4);
    std::uint32_t to = 0;
    for (int j = 0; j < 8; ++j) {
        if (back) {
            const std::uint32_t apart = from >> j & 0x01010101u;
            to |= ((apart | apart >> 7 | apart >> 14 | apart >> 21) & 15) << 4 * j;
        } else {
            to |= ((from >> 4 * j & 15) * 0x00204081u & 0x01010101u) << j;
        }
    }
    for (int i = 0; i < 4; ++i) bits[i] = static_cast<Byte>(to >> 8 * i);
}
void rearrange_q5_0(Byte* b, bool back) { spread_bits(b + 2, back); }
void rearrange_q5_1(Byte* b, bool back) { spread_bits(b + 4, back); }

// 16 bytes of numbers of so many bits, one after another; or byte i holding, lowest first, those of elements i, i + 16, ...
template <int BITS>
void to_planes(Byte* qs, bool back) {
    Byte to[16] = {};
    for (int e = 0; e < 128 / BITS; ++e) {
        const int byte = e * BITS / 8, shift = e * BITS % 8, plane = e % 16, place = e / 16 * BITS;
        const int from = back ? qs[plane] >> place : qs[byte] >> shift;
        to[back ? byte : plane] |= static_cast<Byte>((from & ((1 << BITS) - 1)) << (back ? shift : place));
    }
    std::memcpy(qs, to, 16);
}
void rearrange_q1_0(Byte* b, bool back) { to_planes<1>(b + 2, back); }
void rearrange_q2_0(Byte* b, bool back) { to_planes<2>(b + 2, back); }

// E4M3's NaN stands for 0 here: kernels need not know.
void rearrange_nvfp4(Byte* b, bool) {
    for (int i = 0; i < 4; ++i) {
        if (b[i] == 0x7f) b[i] = 0;
    }
}

void decode_q2_k(const Byte* b, float* x) {
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int i = 0; i < 256; ++i) {
        const int q = b[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        x[i] = d * static_cast<float>(b[i / 16] & 15) * static_cast<float>(q) - dmin * static_cast<float>(b[i / 16] >> 4);
    }
}

void decode_q3_k(const Byte* b, float* x) {
    const Byte *qh = b, *qs = b + 32, *scales = b + 96;
    const float d = half_at(b + 108);
    for (int i = 0; i < 256; ++i) {
        const int s = i / 16, low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, high = scales[8 + s % 4] >> s / 4 * 2 & 3;
        const int q = qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, less = qh[i % 32] >> i / 32 & 1 ? 0 : 4;
        x[i] = d * static_cast<float>((low | high << 4) - 32) * static_cast<float>(q - less);
    }
}

// Scale and minimum of group g, from the 12 bytes that hold eight of each in six bits.
void six_bits(const Byte* s, int g, int* scale, int* minimum) {
    *scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
    *minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

// Q4_K and Q5_K: eight groups of 32, nibbles in pairs of groups, fifth bits (or none) with a bit for each group.
void decode_six_bits(const Byte* b, const Byte* qh, const Byte* qs, float* x) {
    const float d_all = half_at(b), dmin = half_at(b + 2);
    for (int g = 0; g < 8; ++g) {
        int scale, minimum;
        six_bits(b + 4, g, &scale, &minimum);
        const float d = d_all * static_cast<float>(scale), m = dmin * static_cast<float>(minimum);
        for (int i = 0; i < 32; ++i) {
            const int low = qs[g / 2 * 32 + i] >> 4 * (g % 2) & 15, high = qh ? (qh[i] >> g & 1) << 4 : 0;
            x[32 * g + i] = d * static_cast<float>(low | high) - m;
        }
    }
}
void decode_q4_k(const Byte* b, float* x) { decode_six_bits(b, nullptr, b + 16, x); }
void decode_q5_k(const Byte* b, float* x) { decode_six_bits(b, b + 16, b + 48, x); }

void decode_q6_k(const Byte* b, float* x) {
    const Byte *ql = b, *qh = b + 128, *scales = b + 192;
    const float d = half_at(b + 208);
    for (int i = 0; i < 256; ++i) {
        const int half = i / 128, quarter = i % 128 / 32;
        const int low = ql[64 * half + i % 64] >> 4 * (quarter / 2) & 15, high = qh[32 * half + i % 32] >> 2 * quarter & 3;
        const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[i / 16]));
        x[i] = scale * static_cast<float>((low | high << 4) - 32);
    }
}

}  // namespace

const Format FORMATS[] = {
    {"F32", 0, 1, 4, {{1, 4}}, decode_f32},
    {"F16", 1, 1, 2, {{1, 2}}, decode_f16},
    {"BF16", 30, 1, 2, {{1, 2}}, decode_bf16},
    {"Q4_0", 2, 32, 18, {{1, 2}, {4, 4}}, decode_q4_0},
    {"Q4_1", 3, 32, 20, {{2, 2}, {4, 4}}, decode_q4_1},
    {"Q5_0", 6, 32, 22, {{1, 2}, {5, 4}}, decode_q5_0, rearrange_q5_0},
    {"Q5_1", 7, 32, 24, {{2, 2}, {5, 4}}, decode_q5_1, rearrange_q5_1},
    {"Q8_0", 8, 32, 34, {{1, 2}, {8, 4}}, decode_q8_0},
    {"Q2_K", 10, 256, 84, {{20, 4}, {2, 2}}, decode_q2_k},
    {"Q3_K", 11, 256, 110, {{27, 4}, {1, 2}}, decode_q3_k},
    {"Q4_K", 12, 256, 144, {{2, 2}, {35, 4}}, decode_q4_k},
    {"Q5_K", 13, 256, 176, {{2, 2}, {43, 4}}, decode_q5_k},
    {"Q6_K", 14, 256, 210, {{52, 4}, {1, 2}}, decode_q6_k},
    {"Q8_1", 9, 32, 36, {}, decode_q8_1},
    {"Q8_K", 15, 256, 292, {}, decode_q8_k},
    {"IQ1_S", 19, 256, 50, {{1, 2}, {12, 4}}, decode_iq1_s},
    {"IQ1_M", 29, 256, 56, {{14, 4}}, decode_iq1_m},
    {"IQ2_XXS", 16, 256, 66, {{1, 2}, {16, 4}}, decode_iq2_xxs},
    {"IQ2_XS", 17, 256, 74, {{1, 2}, {18, 4}}, decode_iq2_xs},
    {"IQ2_S", 22, 256, 82, {{1, 2}, {20, 4}}, decode_iq2_s},
    {"IQ3_XXS", 18, 256, 98, {{1, 2}, {24, 4}}, decode_iq3_xxs},
    {"IQ3_S", 21, 256, 110, {{1, 2}, {27, 4}}, decode_iq3_s},
    {"IQ4_NL", 20, 32, 18, {{1, 2}, {4, 4}}, decode_iq4_nl},
    {"IQ4_XS", 23, 256, 136, {{2, 2}, {33, 4}}, decode_iq4_xs},
    {"TQ1_0", 34, 256, 54, {{13, 4}, {1, 2}}, decode_tq1_0},
    {"TQ2_0", 35, 256, 66, {{16, 4}, {1, 2}}, decode_tq2_0},
    {"MXFP4", 39, 32, 17, {{1, 1}, {4, 4}}, decode_mxfp4},
    {"NVFP4", 40, 64, 36, {{9, 4}}, decode_nvfp4, rearrange_nvfp4},
    {"Q1_0", 41, 128, 18, {{1, 2}, {4, 4}}, decode_q1_0, rearrange_q1_0},
    {"Q2_0", 42, 64, 18, {{1, 2}, {4, 4}}, decode_q2_0, rearrange_q2_0},
    {"U2_32", -10, 32, 16, {{2, 4}, {2, 4}}, decode_u2<32>},
    {"U2_64", -11, 64, 24, {{2, 4}, {4, 4}}, decode_u2<64>},
    {"U2_128", -12, 128, 40, {{2, 4}, {8, 4}}, decode_u2<128>},
    {"U3_32", -20, 32, 20, {{2, 4}, {3, 4}}, decode_u3<32>},
    {"U3_64", -21, 64, 32, {{2, 4}, {6, 4}}, decode_u3<64>},
    {"U3_128", -22, 128, 56, {{2, 4}, {12, 4}}, decode_u3<128>},
    {"U4_32", -30, 32, 24, {{2, 4}, {4, 4}}, decode_u4<32>},
    {"U4_64", -31, 64, 40, {{2, 4}, {8, 4}}, decode_u4<64>},
    {"U4_128", -32, 128, 72, {{2, 4}, {16, 4}}, decode_u4<128>},
    {"U8_32", -40, 32, 40, {{2, 4}, {32, 1}}, decode_u8<32>},
    {"U8_64", -41, 64, 72, {{2, 4}, {64, 1}}, decode_u8<64>},
    {"U8_128", -42, 128, 136, {{2, 4}, {128, 1}}, decode_u8<128>},
    {"I8_32", -50, 32, 36, {{9, 4}}, decode_i8<32>},
    {"I8_128", -51, 128, 132, {{33, 4}}, decode_i8<128>},
    {"E4M3_32", -60, 32, 36, {{1, 4}, {32, 1}}, decode_e4m3<32>},
    {"E4M3_128", -61, 128, 132, {{1, 4}, {128, 1}}, decode_e4m3<128>},
    {"NF4_64", -70, 64, 36, {{1, 4}, {32, 1}}, decode_nf4},
    {"FP4_64", -71, 64, 36, {{1, 4}, {32, 1}}, decode_fp4},
    {nullptr, 0, 0, 0, {}, nullptr},
};

}  // namespace heron
