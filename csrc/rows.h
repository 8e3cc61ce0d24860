// Kernels on rows of f32, one table of them for each instruction set. Their bodies stand in rows.inc, attend.inc and recurrent.inc.
#pragma once

#include <cstdint>

#include "isa.h"

namespace heron {

enum class Activation { silu, gelu, gelu_erf, quick_gelu, relu, relu2, sigmoid, tanh, softplus, exp };
constexpr const char* ACTIVATIONS[] = {"silu", "gelu", "gelu_erf", "quick_gelu", "relu", "relu2", "sigmoid", "tanh", "softplus", "exp"};

// How keys and values are stored: heron/backends/reference/state.py.
enum class Storage { f32, f16, q8_0 };

constexpr int Q8_BLOCK = 32, Q8_BYTES = 34;  // an f16 scale, then 32 int8

// kind(gate) * (up + offset); where `limit` > 0, gate is held below it and up within it on both sides.
struct Glu {
    Activation kind;
    float limit, offset;
};

constexpr int SCAN_TOKENS = 16;

// Heads of a selective scan that read one group, from some token on: heron/graph/ops_recurrent.py.
struct Scan {
    float* y;        // [heads, channels], as x; `row_stride` further for the next token
    const float *x, *step, *rate;  // step [heads], rate [heads, rates]
    const float *write, *read;     // [numbers]
    std::int64_t row_stride, step_stride, group_stride;
    std::int64_t heads, channels, numbers, rates;
};

struct RowKernels {
    // y may be x. `gain`, `bias` may be null.
    void (*rms_norm)(float* y, const float* x, const float* gain, std::int64_t n, float eps);
    void (*layer_norm)(float* y, const float* x, const float* gain, const float* bias, std::int64_t n, float eps);
    void (*add)(float* y, const float* a, const float* b, std::int64_t n);
    void (*mul)(float* y, const float* a, const float* b, std::int64_t n);
    void (*add_scalar)(float* y, const float* a, float b, std::int64_t n);
    void (*mul_scalar)(float* y, const float* a, float b, std::int64_t n);
    void (*activate)(Activation kind, float* y, const float* x, std::int64_t n);
    void (*glu)(const Glu& how, float* y, const float* gate, const float* up, std::int64_t n);
    void (*softmax)(float* y, const float* x, std::int64_t n);
    float (*sum)(const float* x, std::int64_t n);
    float (*dot)(const float* a, const float* b, std::int64_t n);
    bool (*finite)(const float* x, std::int64_t n);
    // y = sum over i of w[i] * x[i * stride ...]
    void (*weighted_sum)(float* y, const float* x, std::int64_t stride, const float* w, int count, std::int64_t n);
    // Turns the first 2 * n elements of x by angles whose cosines and sines are given; the rest, to `dim`, is copied.
    void (*rope_half)(float* y, const float* x, const float* cosine, const float* sine, std::int64_t n, std::int64_t dim);
    void (*rope_adjacent)(float* y, const float* x, const float* cosine, const float* sine, std::int64_t n, std::int64_t dim);
    // n elements in `storage` form
    void (*encode)(Storage storage, void* to, const float* from, std::int64_t n);

    // Attention over one chunk of `keys` keys, at most CHUNK (heron/csrc/attend.inc).
    // The keys' rows of `dim` elements -> transposed [dim, CHUNK]; columns from `keys` on are undefined, but finite.
    void (*load_keys)(Storage storage, float* transposed, const void* const* rows, int keys, int dim);
    // The values' rows -> [keys, dim]
    void (*load_values)(Storage storage, float* values, const void* const* rows, int keys, int dim);
    // score[i * stride + j] = scale * (query i . key j), capped where softcap > 0, for `queries` rows of q [queries, dim]
    void (*scores)(float* score, std::int64_t stride, const float* q, int queries, const float* transposed, int keys, int dim, float scale,
                   float softcap);
    // Of one row of scores, those in [first, last) -> exp(score - largest), the others in [0, n) -> 0.
    void (*exponentiate)(float* score, int first, int last, int n, float* largest, float* total);
    // acc[i] += sum of weight[i * stride + j] * values[j] over the chunk's keys j in [low[i] - at, high[i] - at); acc [queries, dim].
    // Keys that a query does not see are not touched: a NaN among them is none of its business.
    void (*accumulate)(float* acc, const float* weight, std::int64_t stride, int queries, const float* values, int keys, int dim, const int* low,
                       const int* high, int at);
    // (largest, total, acc) of the keys before, joined by those of more keys.
    void (*merge)(float* largest, float* total, float* acc, float more_largest, float more_total, const float* more_acc, int dim);

    // Recurrences (csrc/recurrent.inc).
    // y [n] = the sum of taps[i] * rows[i] over `count` rows, taps [count, n], plus `bias`, which may be null
    void (*convolve)(float* y, const float* const* rows, const float* taps, const float* bias, int count, std::int64_t n);
    // S = exp(step * rate) S + step x write; y = S read, for each of at most SCAN_TOKENS tokens; S [heads, channels, numbers]
    void (*selective_scan)(const Scan& scan, float* state, int tokens);
    // S = exp(log_decay) S; S += k (beta (v - k S)); y = q S, for S [keys, values]
    void (*delta_rule)(float* y, float* state, const float* q, const float* k, const float* v, float log_decay, float beta, std::int64_t keys,
                       std::int64_t values);
};

constexpr int CHUNK = 64;

extern const RowKernels ROWS_PORTABLE, ROWS_AVX2, ROWS_AVX512, ROWS_NEON;

const RowKernels& row_kernels(Isa isa);

}  // namespace heron
