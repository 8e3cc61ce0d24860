// A matrix made ready for products: packed by panels of rows.
#pragma once

#include <cstdint>

namespace heron {

class Matrix {
public:
    virtual ~Matrix() = default;
    virtual std::int64_t rows() const = 0;
    virtual std::int64_t columns() const = 0;
    virtual std::int64_t bytes() const = 0;
    virtual std::int64_t panels() const = 0;  // of panel_rows() rows, the last perhaps fewer
    virtual std::int64_t panel_rows() const = 0;

    // Tokens as the products want them: prepared_bytes() each, one after another. Matrices of one kind can share them.
    virtual int preparation() const = 0;
    virtual std::int64_t prepared_bytes() const = 0;
    virtual void prepare(char* to, const float* x, std::int64_t tokens) const = 0;
    // y[t * stride + row] = row . x[t] for the rows of panels [first, last)
    virtual void product(float* y, std::int64_t stride, const char* prepared, std::int64_t tokens, std::int64_t first, std::int64_t last) const = 0;
    virtual void unpack_row(float* to, std::int64_t row) const = 0;
};

}  // namespace heron
