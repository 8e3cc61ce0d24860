// A matrix whose rows are kept as f32: what formats without a packed layout become.
#pragma once

#include <vector>

#include "matrix.h"
#include "rows.h"

namespace heron {

class DenseMatrix final : public Matrix {
public:
    DenseMatrix(const float* values, std::int64_t rows, std::int64_t columns)
        : kernels_(row_kernels()), rows_(rows), columns_(columns), values_(values, values + rows * columns) {}

    std::int64_t rows() const override { return rows_; }
    std::int64_t columns() const override { return columns_; }
    std::int64_t bytes() const override { return static_cast<std::int64_t>(values_.size() * sizeof(float)); }
    std::int64_t panels() const override { return (rows_ + PANEL - 1) / PANEL; }
    std::int64_t panel_rows() const override { return PANEL; }
    int preparation() const override { return 0; }
    std::int64_t prepared_bytes() const override { return columns_ * static_cast<std::int64_t>(sizeof(float)); }
    void prepare(char* to, const float* x, std::int64_t tokens) const override { std::copy(x, x + tokens * columns_, reinterpret_cast<float*>(to)); }
    void product(float* y, std::int64_t stride, const char* prepared, std::int64_t tokens, std::int64_t first, std::int64_t last) const override {
        const auto* x = reinterpret_cast<const float*>(prepared);
        for (std::int64_t row = first * PANEL; row < std::min(rows_, last * PANEL); ++row) {
            for (std::int64_t t = 0; t < tokens; ++t) y[t * stride + row] = kernels_.dot(values_.data() + row * columns_, x + t * columns_, columns_);
        }
    }
    void unpack_row(float* to, std::int64_t row) const override {
        std::copy(values_.begin() + row * columns_, values_.begin() + (row + 1) * columns_, to);
    }

private:
    static constexpr std::int64_t PANEL = 16;

    const RowKernels& kernels_;
    std::int64_t rows_, columns_;
    std::vector<float> values_;
};

}  // namespace heron
