// Vectors of f32 for one instruction set: the including file defines HERON_VECTOR as one of those below first, and
// everything here and in the bodies that it includes (*.inc) lands in the namespace of that name.
//
// These files use no inline functions of the standard library: a copy compiled for a newer CPU could be the one
// that the linker keeps for all.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#define HERON_VECTOR_portable 0
#define HERON_VECTOR_neon 1
#define HERON_VECTOR_dotprod 1
#define HERON_VECTOR_i8mm 1
#define HERON_VECTOR_avx2 2
#define HERON_VECTOR_avx512 5
#define HERON_VECTOR_amx 5
#define HERON_JOIN(a, b) a##b
#define HERON_LEVEL_OF(name) HERON_JOIN(HERON_VECTOR_, name)
#define HERON_LEVEL HERON_LEVEL_OF(HERON_VECTOR)

#if HERON_LEVEL >= 2
#include <immintrin.h>
#elif HERON_LEVEL == 1
#include <arm_neon.h>
#endif

namespace heron::HERON_VECTOR {

constexpr bool FUSED = HERON_LEVEL > 0;  // mul_add rounds once

#if HERON_LEVEL == 5

constexpr int W = 16;
using Vec = __m512;
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a); }
static inline Vec load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p); }
static inline void store_first(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), a); }
static inline Vec load_half(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
static inline void store_half(std::uint16_t* p, Vec a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline Vec load_int8(const std::int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
static inline float float_of_half(std::uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
static inline Vec all(float x) { return _mm512_set1_ps(x); }
static inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
static inline Vec mul_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }  // b where either is NaN
static inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }  // b where either is NaN
static inline Vec absolute(Vec a) { return _mm512_abs_ps(a); }
static inline Vec round_even(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline Vec power_of_two(Vec n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
// a where x < bound, else b
static inline Vec where_less(Vec x, Vec bound, Vec a, Vec b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), b, a); }

#elif HERON_LEVEL == 2

constexpr int W = 8;
using Vec = __m256;
static inline __m256i first_lanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a); }
static inline Vec load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
static inline void store_first(float* p, Vec a, int n) { _mm256_maskstore_ps(p, first_lanes(n), a); }
static inline Vec load_half(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline void store_half(std::uint16_t* p, Vec a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline Vec load_int8(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
static inline float float_of_half(std::uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
static inline Vec all(float x) { return _mm256_set1_ps(x); }
static inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
static inline Vec mul_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
static inline Vec absolute(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline Vec round_even(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline Vec power_of_two(Vec n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline Vec where_less(Vec x, Vec bound, Vec a, Vec b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, bound, _CMP_LT_OQ)); }

#elif HERON_LEVEL == 1

constexpr int W = 4;
using Vec = float32x4_t;
static inline Vec load(const float* p) { return vld1q_f32(p); }
static inline void store(float* p, Vec a) { vst1q_f32(p, a); }
static inline Vec load_first(const float* p, int n) {
    if (n == W) return load(p);
    float lane[W] = {};
    for (int i = 0; i < n; ++i) lane[i] = p[i];
    return load(lane);
}
static inline void store_first(float* p, Vec a, int n) {
    if (n == W) return store(p, a);
    float lane[W];
    store(lane, a);
    for (int i = 0; i < n; ++i) p[i] = lane[i];
}
static inline Vec load_half(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void store_half(std::uint16_t* p, Vec a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
static inline uint8x8_t four_bytes(const void* p) {
    std::uint32_t word;
    std::memcpy(&word, p, 4);
    return vreinterpret_u8_u32(vdup_n_u32(word));
}
static inline Vec load_int8(const std::int8_t* p) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four_bytes(p))))));
}
static inline float float_of_half(std::uint16_t h) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0); }
static inline Vec all(float x) { return vdupq_n_f32(x); }
static inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
static inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
static inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
static inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
static inline Vec mul_add(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
static inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline Vec absolute(Vec a) { return vabsq_f32(a); }
static inline Vec round_even(Vec a) { return vrndnq_f32(a); }
static inline Vec power_of_two(Vec n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23)); }
static inline Vec where_less(Vec x, Vec bound, Vec a, Vec b) { return vbslq_f32(vcltq_f32(x, bound), a, b); }

#else

constexpr int W = 4;
struct Vec {
    float lane[W];
};

template <class F>
static inline Vec each(const F& f) {
    Vec r;
    for (int i = 0; i < W; ++i) r.lane[i] = f(i);
    return r;
}

static inline float float_of_half(std::uint16_t h) {
    const std::uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
    float magnitude;
    if (rest >= 0x7c00u) {
        const std::uint32_t bits = 0x7f800000u | (rest & 0x3ffu) << 13;
        std::memcpy(&magnitude, &bits, 4);
    } else {  // the half's bits, read as those of a float, are the number times 2^-112: exact for subnormals too
        const std::uint32_t bits = rest << 13;
        std::memcpy(&magnitude, &bits, 4);
        magnitude *= 5.192296858534828e33f;
    }
    std::uint32_t bits;
    std::memcpy(&bits, &magnitude, 4);
    bits |= sign;
    std::memcpy(&magnitude, &bits, 4);
    return magnitude;
}

// To the nearest half, ties to even.
static inline std::uint16_t half_of_float(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | (bits >> 13 & 0x3ffu));
    if (bits >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
    if (bits < 0x38800000u) {  // subnormal: adding 0.5 rounds the fraction into the sum's low bits
        float magnitude;
        std::memcpy(&magnitude, &bits, 4);
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, 4);
        return static_cast<std::uint16_t>(sign | (bits - 0x3f000000u));
    }
    return static_cast<std::uint16_t>(sign | ((bits - 0x38000000u + 0xfffu + (bits >> 13 & 1)) >> 13));
}

static inline Vec load(const float* p) {
    Vec r;
    std::memcpy(r.lane, p, sizeof r.lane);
    return r;
}
static inline void store(float* p, Vec a) { std::memcpy(p, a.lane, sizeof a.lane); }
static inline Vec load_first(const float* p, int n) {
    Vec r{};
    for (int i = 0; i < n; ++i) r.lane[i] = p[i];
    return r;
}
static inline void store_first(float* p, Vec a, int n) {
    for (int i = 0; i < n; ++i) p[i] = a.lane[i];
}
static inline Vec load_half(const std::uint16_t* p) {
    return each([&](int i) { return float_of_half(p[i]); });
}
static inline void store_half(std::uint16_t* p, Vec a) {
    for (int i = 0; i < W; ++i) p[i] = half_of_float(a.lane[i]);
}
static inline Vec load_int8(const std::int8_t* p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
}
static inline Vec all(float x) {
    return each([&](int) { return x; });
}
static inline Vec add(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
static inline Vec sub(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
static inline Vec mul(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
static inline Vec div(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
static inline Vec mul_add(Vec a, Vec b, Vec c) {
    return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
static inline Vec max(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
static inline Vec min(Vec a, Vec b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
static inline Vec absolute(Vec a) {
    return each([&](int i) { return a.lane[i] < 0 ? -a.lane[i] : a.lane[i]; });
}
static inline Vec round_even(Vec a) {
    return each([&](int i) { return nearbyintf(a.lane[i]); });
}
static inline Vec power_of_two(Vec n) {
    return each([&](int i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<std::int32_t>(n.lane[i]) + 127) << 23;
        float r;
        std::memcpy(&r, &bits, 4);
        return r;
    });
}
static inline Vec where_less(Vec x, Vec bound, Vec a, Vec b) {
    return each([&](int i) { return x.lane[i] < bound.lane[i] ? a.lane[i] : b.lane[i]; });
}

#endif

// The sum and the largest of the lanes, in the order of a binary tree.
static inline float sum(Vec a) {
    float lane[W];
    store(lane, a);
    for (int half = W / 2; half; half /= 2) {
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    return lane[0];
}
static inline float largest(Vec a) {
    float lane[W];
    store(lane, a);
    for (int half = W / 2; half; half /= 2) {
        for (int i = 0; i < half; ++i) lane[i] = lane[i + half] > lane[i] || lane[i + half] != lane[i + half] ? lane[i + half] : lane[i];
    }
    return lane[0];
}

// e^x to about one unit in the last place (the polynomial of Cephes' expf); 0 below -87.33, infinite above 88.37.
static inline Vec exp(Vec x) {
    const Vec least = all(-87.33654f);
    const Vec clamped = max(least, min(all(88.8f), x));  // NaN stays NaN
    const Vec n = round_even(mul(clamped, all(1.44269504f)));
    Vec r = mul_add(n, all(-0.693359375f), clamped);
    r = mul_add(n, all(2.12194440e-4f), r);
    Vec p = all(1.9875691500e-4f);
    p = mul_add(p, r, all(1.3981999507e-3f));
    p = mul_add(p, r, all(8.3334519073e-3f));
    p = mul_add(p, r, all(4.1665795894e-2f));
    p = mul_add(p, r, all(1.6666665459e-1f));
    p = mul_add(p, r, all(5.0000001201e-1f));
    p = add(mul_add(mul(r, r), p, r), all(1.0f));
    return where_less(x, least, all(0.0f), mul(p, power_of_two(n)));
}

static inline Vec sigmoid(Vec x) { return div(all(1.0f), add(all(1.0f), exp(sub(all(0.0f), x)))); }

// Cephes' tanhf: an odd polynomial near 0, where 1 - 2 / (e^2x + 1) would lose digits.
static inline Vec tanh(Vec x) {
    const Vec z = mul(x, x), size = absolute(x);
    Vec p = all(-5.70498872745e-3f);
    p = mul_add(p, z, all(2.06390887954e-2f));
    p = mul_add(p, z, all(-5.37397155531e-2f));
    p = mul_add(p, z, all(1.33314422036e-1f));
    p = mul_add(p, z, all(-3.33332819422e-1f));
    const Vec near = mul_add(mul(p, z), x, x);
    const Vec far = sub(all(1.0f), div(all(2.0f), add(exp(add(size, size)), all(1.0f))));
    const Vec signed_far = where_less(x, all(0.0f), sub(all(0.0f), far), far);
    return where_less(size, all(0.625f), near, signed_far);
}

// Calls f(index, lanes) for each vector of n elements; lanes is W but for the last.
template <class F>
static inline void vectors(std::int64_t n, const F& f) {
    std::int64_t i = 0;
    for (; i + W <= n; i += W) f(i, W);
    if (i < n) f(i, static_cast<int>(n - i));
}

static inline Vec load_some(const float* p, int lanes) { return lanes == W ? load(p) : load_first(p, lanes); }
static inline void store_some(float* p, Vec a, int lanes) {
    if (lanes == W) {
        store(p, a);
    } else {
        store_first(p, a, lanes);
    }
}

}  // namespace heron::HERON_VECTOR
