// Vectors of integers beside the f32 ones of vector.h, in the namespace of the same instruction set: W lanes of 32 bits,
// each of which may also be seen as four bytes. What products with quantized weights are made of.
#pragma once

#include "vector.h"

// Loops over registers: without complete unrolling these would be memory.
#if defined(__GNUC__) || defined(__clang__)
#define HERON_UNROLL _Pragma("GCC unroll 16")
#else
#define HERON_UNROLL
#endif
// Loops over the parts of a block, whose shifts then are constants. Where a vector is itself a loop, that is too much code.
#if HERON_LEVEL >= 1
#define HERON_UNROLL_BLOCK HERON_UNROLL
#else
#define HERON_UNROLL_BLOCK
#endif

namespace heron::HERON_VECTOR {

#if HERON_LEVEL == 5

using Int = __m512i;
// A pass of a kernel takes TILE tokens and some panels of rows: sums and dots of each, with an operand or two, fill the
// registers, and each operand that is loaded serves several products.
constexpr int TILE = 6, PANELS_INT8 = 2, PANELS_F32 = 2, PANELS_FROM_MEMORY = 4;
static inline Int load_int(const void* p) { return _mm512_loadu_si512(p); }
static inline void store_int(void* p, Int a) { _mm512_storeu_si512(p, a); }
static inline Int all_int(std::int32_t a) { return _mm512_set1_epi32(a); }
static inline Int bit_and(Int a, Int b) { return _mm512_and_si512(a, b); }
static inline Int bit_or(Int a, Int b) { return _mm512_or_si512(a, b); }
static inline Int bit_xor(Int a, Int b) { return _mm512_xor_si512(a, b); }
static inline Int add_int(Int a, Int b) { return _mm512_add_epi32(a, b); }
static inline Int sub_int(Int a, Int b) { return _mm512_sub_epi32(a, b); }
static inline Int mul_int(Int a, int b) { return _mm512_mullo_epi32(a, _mm512_set1_epi32(b)); }
static inline Int shift_left(Int a, int n) { return _mm512_slli_epi32(a, static_cast<unsigned>(n)); }
static inline Int shift_right(Int a, int n) { return _mm512_srli_epi32(a, static_cast<unsigned>(n)); }
static inline Int shift_right_signed(Int a, int n) { return _mm512_srai_epi32(a, static_cast<unsigned>(n)); }
static inline Vec to_float(Int a) { return _mm512_cvtepi32_ps(a); }
static inline Vec as_float(Int a) { return _mm512_castsi512_ps(a); }
static inline Int widen_8(const std::uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline Int widen_16(const std::uint16_t* p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
// Of each byte of `index`, which is less than 16, the byte of the table.
static inline Int look_up(const void* table, Int index) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(table))), index);
}
// Of each lane of `index` the 32-bit word of the table.
static inline Int gather(const void* table, Int index) { return _mm512_i32gather_epi32(index, table, 4); }
// Of each lane of `index`, which is less than 16, the float of the table.
static inline Vec look_up_float(const float* table, Int index) { return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table)); }
static inline void store_int8(std::int8_t* p, Vec whole) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole))); }
static inline float reduce_max(Vec a) { return _mm512_reduce_max_ps(a); }
static inline float reduce_add(Vec a) { return _mm512_reduce_add_ps(a); }

// acc + the four products of bytes in each lane: unsigned weights, signed x. Integers are exact, so any way to compute
// them is. `WIDE` weights use all eight bits; the others less than 128.
template <bool WIDE>
static inline Int dot4(Int acc, Int w, Int x) {
    return _mm512_dpbusd_epi32(acc, w, x);
}
constexpr int WIDE_OFFSET = 128;  // what dot4<true> takes the weights' zero to be

#elif HERON_LEVEL == 2

using Int = __m256i;
constexpr int TILE = 4, PANELS_INT8 = 1, PANELS_F32 = 2, PANELS_FROM_MEMORY = 2;
static inline Int load_int(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
static inline void store_int(void* p, Int a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
static inline Int all_int(std::int32_t a) { return _mm256_set1_epi32(a); }
static inline Int bit_and(Int a, Int b) { return _mm256_and_si256(a, b); }
static inline Int bit_or(Int a, Int b) { return _mm256_or_si256(a, b); }
static inline Int bit_xor(Int a, Int b) { return _mm256_xor_si256(a, b); }
static inline Int add_int(Int a, Int b) { return _mm256_add_epi32(a, b); }
static inline Int sub_int(Int a, Int b) { return _mm256_sub_epi32(a, b); }
static inline Int mul_int(Int a, int b) { return _mm256_mullo_epi32(a, _mm256_set1_epi32(b)); }
static inline Int shift_left(Int a, int n) { return _mm256_slli_epi32(a, n); }
static inline Int shift_right(Int a, int n) { return _mm256_srli_epi32(a, n); }
static inline Int shift_right_signed(Int a, int n) { return _mm256_srai_epi32(a, n); }
static inline Vec to_float(Int a) { return _mm256_cvtepi32_ps(a); }
static inline Vec as_float(Int a) { return _mm256_castsi256_ps(a); }
static inline Int widen_8(const std::uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
static inline Int widen_16(const std::uint16_t* p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline Int look_up(const void* table, Int index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(table))), index);
}
static inline Int gather(const void* table, Int index) { return _mm256_i32gather_epi32(static_cast<const int*>(table), index, 4); }
static inline Vec look_up_float(const float* table, Int index) {
    const Vec low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index), high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
    return _mm256_blendv_ps(low, high, as_float(shift_left(index, 28)));
}
static inline void store_int8(std::int8_t* p, Vec whole) {
    const __m256i a = _mm256_cvtps_epi32(whole);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
}
static inline float reduce_max(Vec a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static inline float reduce_add(Vec a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// maddubs adds two products in 16 bits with saturation: 2 * 127 * 127 fits, 2 * 255 * 127 would not. Wide weights are
// therefore made signed, and their sign is given to x: 2 * 128 * 127 fits.
template <bool WIDE>
static inline Int dot4(Int acc, Int w, Int x) {
    if constexpr (WIDE) {
        w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        x = _mm256_sign_epi8(x, w);
        w = _mm256_abs_epi8(w);
    }
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
constexpr int WIDE_OFFSET = 0;

#elif HERON_LEVEL == 1

using Int = int32x4_t;
constexpr int TILE = 6, PANELS_INT8 = 2, PANELS_F32 = 2, PANELS_FROM_MEMORY = 4;
static inline int8x16_t bytes_of(Int a) { return vreinterpretq_s8_s32(a); }
static inline Int load_int(const void* p) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p))); }
static inline void store_int(void* p, Int a) { vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_s32(a)); }
static inline Int all_int(std::int32_t a) { return vdupq_n_s32(a); }
static inline Int bit_and(Int a, Int b) { return vandq_s32(a, b); }
static inline Int bit_or(Int a, Int b) { return vorrq_s32(a, b); }
static inline Int bit_xor(Int a, Int b) { return veorq_s32(a, b); }
static inline Int add_int(Int a, Int b) { return vaddq_s32(a, b); }
static inline Int sub_int(Int a, Int b) { return vsubq_s32(a, b); }
static inline Int mul_int(Int a, int b) { return vmulq_n_s32(a, b); }
// Shifts to the right are shifts to the left by negative numbers.
static inline Int shift_left(Int a, int n) { return vshlq_s32(a, vdupq_n_s32(n)); }
static inline Int shift_right(Int a, int n) { return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-n))); }
static inline Int shift_right_signed(Int a, int n) { return vshlq_s32(a, vdupq_n_s32(-n)); }
static inline Vec to_float(Int a) { return vcvtq_f32_s32(a); }
static inline Vec as_float(Int a) { return vreinterpretq_f32_s32(a); }
static inline Int widen_8(const std::uint8_t* p) { return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four_bytes(p))))); }
static inline Int widen_16(const std::uint16_t* p) { return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p))); }
static inline Int look_up(const void* table, Int index) {
    return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(static_cast<const std::uint8_t*>(table)), vreinterpretq_u8_s32(index)));
}
static inline Int gather(const void* table, Int index) {
    std::int32_t lane[W];
    vst1q_s32(lane, index);
    for (std::int32_t& word : lane) std::memcpy(&word, static_cast<const std::uint8_t*>(table) + 4 * word, 4);
    return vld1q_s32(lane);
}
static inline Vec look_up_float(const float* table, Int index) { return as_float(gather(table, index)); }
static inline void store_int8(std::int8_t* p, Vec whole) {
    const int16x4_t half = vmovn_s32(vcvtnq_s32_f32(whole));
    const std::uint32_t word = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(half, half))), 0);
    std::memcpy(p, &word, 4);
}
static inline float reduce_max(Vec a) { return vmaxvq_f32(a); }
static inline float reduce_add(Vec a) { return vaddvq_f32(a); }

// Both factors are signed here: wide weights are made so. Where four products cannot be added at once, two of them are
// in 16 bits: 2 * 128 * 127 fits.
template <bool WIDE>
static inline Int dot4(Int acc, Int w, Int x) {
    if constexpr (WIDE) w = veorq_s32(w, vdupq_n_s32(static_cast<int>(0x80808080u)));
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, bytes_of(w), bytes_of(x));
#else
    const int16x8_t low = vmull_s8(vget_low_s8(bytes_of(w)), vget_low_s8(bytes_of(x))), high = vmull_high_s8(bytes_of(w), bytes_of(x));
    return vpadalq_s16(acc, vpaddq_s16(low, high));
#endif
}
constexpr int WIDE_OFFSET = 0;

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define HERON_MATRICES 1
// Two neighbouring units of four rows as eight bytes of two rows, then of the other two.
static inline void store_units(void* p, Int a, Int b) {
    store_int(p, vzip1q_s32(a, b));
    store_int(static_cast<std::uint8_t*>(p) + 16, vzip2q_s32(a, b));
}
// Units of one token, or of two side by side.
static inline Int one_token(const void* p) {
    const uint8x8_t x = vld1_u8(static_cast<const std::uint8_t*>(p));
    return vreinterpretq_s32_u8(vcombine_u8(x, x));
}
// acc + the products of two rows with two tokens of eight bytes each: (0, 0), (0, 1), (1, 0), (1, 1).
template <bool WIDE>
static inline Int dot8(Int acc, Int w, Int x) {
    if constexpr (WIDE) w = veorq_s32(w, vdupq_n_s32(static_cast<int>(0x80808080u)));
    return vmmlaq_s32(acc, bytes_of(w), bytes_of(x));
}
static inline Int of_first_token(Int rows01, Int rows23) { return vuzp1q_s32(rows01, rows23); }
static inline Int of_second_token(Int rows01, Int rows23) { return vuzp2q_s32(rows01, rows23); }
#endif

#else

constexpr int TILE = 4, PANELS_INT8 = 1, PANELS_F32 = 1, PANELS_FROM_MEMORY = 1;
struct Int {
    std::uint32_t lane[W];
};
template <class F>
static inline Int each_int(const F& f) {
    Int r;
    for (int i = 0; i < W; ++i) r.lane[i] = f(i);
    return r;
}
static inline Int load_int(const void* p) {
    Int r;
    std::memcpy(r.lane, p, sizeof r.lane);
    return r;
}
static inline void store_int(void* p, Int a) { std::memcpy(p, a.lane, sizeof a.lane); }
static inline Int all_int(std::int32_t a) {
    return each_int([&](int) { return static_cast<std::uint32_t>(a); });
}
static inline Int bit_and(Int a, Int b) {
    return each_int([&](int i) { return a.lane[i] & b.lane[i]; });
}
static inline Int bit_or(Int a, Int b) {
    return each_int([&](int i) { return a.lane[i] | b.lane[i]; });
}
static inline Int bit_xor(Int a, Int b) {
    return each_int([&](int i) { return a.lane[i] ^ b.lane[i]; });
}
static inline Int add_int(Int a, Int b) {
    return each_int([&](int i) { return a.lane[i] + b.lane[i]; });
}
static inline Int sub_int(Int a, Int b) {
    return each_int([&](int i) { return a.lane[i] - b.lane[i]; });
}
static inline Int mul_int(Int a, int b) {
    return each_int([&](int i) { return a.lane[i] * static_cast<std::uint32_t>(b); });
}
static inline Int shift_left(Int a, int n) {
    return each_int([&](int i) { return a.lane[i] << n; });
}
static inline Int shift_right(Int a, int n) {
    return each_int([&](int i) { return a.lane[i] >> n; });
}
static inline Int shift_right_signed(Int a, int n) {
    return each_int([&](int i) { return static_cast<std::uint32_t>(static_cast<std::int32_t>(a.lane[i]) >> n); });
}
static inline Vec to_float(Int a) {
    return each([&](int i) { return static_cast<float>(static_cast<std::int32_t>(a.lane[i])); });
}
static inline Vec as_float(Int a) {
    Vec r;
    std::memcpy(r.lane, a.lane, sizeof r.lane);
    return r;
}
static inline Int widen_8(const std::uint8_t* p) {
    return each_int([&](int i) { return p[i]; });
}
static inline Int widen_16(const std::uint16_t* p) {
    return each_int([&](int i) { return p[i]; });
}
static inline Int look_up(const void* table, Int index) {
    return each_int([&](int i) {
        std::uint32_t word = 0;
        for (int b = 0; b < 32; b += 8) word |= static_cast<std::uint32_t>(static_cast<const std::uint8_t*>(table)[index.lane[i] >> b & 0xff]) << b;
        return word;
    });
}
static inline Int gather(const void* table, Int index) {
    return each_int([&](int i) {
        std::uint32_t word;
        std::memcpy(&word, static_cast<const std::uint8_t*>(table) + 4 * index.lane[i], 4);
        return word;
    });
}
static inline Vec look_up_float(const float* table, Int index) { return as_float(gather(table, index)); }
static inline void store_int8(std::int8_t* p, Vec whole) {
    for (int i = 0; i < W; ++i) p[i] = static_cast<std::int8_t>(whole.lane[i]);
}
static inline float reduce_max(Vec a) { return largest(a); }
static inline float reduce_add(Vec a) { return sum(a); }

template <bool WIDE>
static inline Int dot4(Int acc, Int w, Int x) {
    return each_int([&](int i) {
        std::int32_t total = 0;
        for (int b = 0; b < 4; ++b) total += static_cast<std::int32_t>(w.lane[i] >> 8 * b & 0xff) * static_cast<std::int8_t>(x.lane[i] >> 8 * b);
        return acc.lane[i] + static_cast<std::uint32_t>(total);
    });
}
constexpr int WIDE_OFFSET = 128;

#endif

// Where the four bytes of unit j lie among those of N tokens, in units: one of each token, or where matrices are multiplied two.
#if defined(HERON_MATRICES)
constexpr int unit_at(int j, int n, int N) { return (j / 2 * N + n) * 2 + j % 2; }
#else
constexpr int unit_at(int j, int n, int N) { return j * N + n; }
static inline void store_units(void* p, Int a, Int b) {
    store_int(p, a);
    store_int(static_cast<std::uint8_t*>(p) + 4 * W, b);
}
#endif

static inline void prefetch(const void* p) {
#if HERON_LEVEL >= 2
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#elif defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

static inline Vec load_bfloat(const std::uint16_t* p) { return as_float(shift_left(widen_16(p), 16)); }
static inline Int low_bits(Int a, int mask) { return bit_and(a, all_int(mask * 0x01010101)); }  // of each byte
static inline Int byte_of(Int a, int i) { return bit_and(shift_right(a, 8 * i), all_int(0xff)); }
static inline Int signed_byte_of(Int a, int i) { return shift_right_signed(shift_left(a, 24 - 8 * i), 24); }
static inline Vec broadcast(const void* p) {  // a float at any address
    float value;
    std::memcpy(&value, p, 4);
    return all(value);
}
static inline Int broadcast_int(const void* p) {
    std::int32_t value;
    std::memcpy(&value, p, 4);
    return all_int(value);
}

}  // namespace heron::HERON_VECTOR
