// From f32 to the blocks of a format. What each search minimizes and how: docs/quantize.md.
#pragma once

#include <cstdint>

#include "format.h"
#include "isa.h"
#include "threads.h"

namespace heron {

// Where rounding follows a rule that is published, and blocks are its own byte for byte.
struct Rule {
    int format;
    void (*encode)(const float* x, std::uint8_t* block);
};

// Where codes and scales are searched for: x [block] finite, w [block] what a squared error counts for, each above 0.
struct Search {
    int format;
    void (*encode)(const float* x, const float* w, std::uint8_t* block);
};

struct Encoders {
    const Rule* rules;  // the last of each has no encode
    const Search* searches;
    // w[i] from x and `importance` (null: all alike), for a row of n
    void (*weigh)(float* w, const float* x, const float* importance, std::int64_t n);
    bool (*finite)(const float* x, std::int64_t n);
};

extern const Encoders ENCODERS_PORTABLE, ENCODERS_AVX2, ENCODERS_AVX512, ENCODERS_NEON;

const Encoders& encoders(Isa isa);

// Rows of n values -> `out` [rows, row_bytes]; n is whole blocks. A format that has a rule follows it where there is no importance [n].
// Returns the first row with a number that is not finite, which blocks cannot hold, or -1. `format` is one that can_quantize.
std::int64_t quantize(const Format& format, Isa isa, ThreadPool& pool, const float* values, std::int64_t rows, std::int64_t n, const float* importance,
                      std::uint8_t* out);
bool can_quantize(int format);

}  // namespace heron
