#pragma once
#include "matrix.h"
#include <vector>
#include <cstring>
namespace heron {
struct Dense : Matrix {
    std::int64_t r, c; std::vector<float> v;
    std::int64_t rows() const override { return r; }
    std::int64_t columns() const override { return c; }
    std::int64_t bytes() const override { return r*c*4; }
    std::int64_t panels() const override { return (r+15)/16; }
    std::int64_t panel_rows() const override { return 16; }
    int preparation() const override { return 0; }
    std::int64_t prepared_bytes() const override { return c*4; }
    void prepare(char* to, const float* x, std::int64_t tokens) const override { std::memcpy(to, x, tokens*c*4); }
    void product(float* y, std::int64_t stride, const char* p, std::int64_t tokens, std::int64_t first, std::int64_t last) const override {
        for (std::int64_t row = first*16; row < std::min(r, last*16); ++row)
            for (std::int64_t t = 0; t < tokens; ++t) {
                const float* a = v.data()+row*c; const float* b = (const float*)p + t*c;
                float s[16] = {}; std::int64_t i = 0;
                for (; i+16 <= c; i += 16) for (int j = 0; j < 16; ++j) s[j] += a[i+j]*b[i+j];
                for (; i < c; ++i) s[0] += a[i]*b[i];
                float q = 0; for (float k : s) q += k;
                y[t*stride+row] = q;
            }
    }
    void unpack_row(float* to, std::int64_t row) const override { std::memcpy(to, v.data()+row*c, c*4); }
};
}
