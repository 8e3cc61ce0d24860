// Packed weights that own their memory: one matrix, or the experts of a layer, each packed by itself.
#pragma once

#include <memory>
#include <new>

#include "layout.h"

namespace heron {

class Packed {
public:
    // Uninitialized: every row of every matrix must be packed before use.
    Packed(const Layout& layout, std::int64_t matrices, std::int64_t rows, std::int64_t k)
        : layout_(&layout), matrices_(matrices), rows_(rows), k_(k), data_(allocate(static_cast<std::size_t>(bytes()))) {}

    const Layout& layout() const { return *layout_; }
    std::int64_t matrices() const { return matrices_; }
    std::int64_t rows() const { return rows_; }  // of one matrix
    std::int64_t k() const { return k_; }
    std::int64_t bytes() const { return matrices_ * layout_->bytes(rows_, k_); }
    PackedMatrix matrix(std::int64_t i = 0) const { return {layout_, rows_, k_, data_.get() + i * layout_->bytes(rows_, k_)}; }

    // Rows first .. first + n of matrix i; `first` is a multiple of layout().rows.
    void pack(std::int64_t i, std::int64_t first, const std::uint8_t* src, std::int64_t src_stride, std::int64_t n) {
        std::uint8_t* at = data_.get() + i * layout_->bytes(rows_, k_) + first / layout_->rows * layout_->panel_bytes(k_);
        heron::pack(*layout_, k_, src, src_stride, n, at);
    }

private:
    static constexpr std::align_val_t ALIGNMENT{64};

    struct Free {
        void operator()(std::uint8_t* p) const { ::operator delete(p, ALIGNMENT); }
    };
    static std::uint8_t* allocate(std::size_t bytes) { return static_cast<std::uint8_t*>(::operator new(bytes, ALIGNMENT)); }

    const Layout* layout_;
    std::int64_t matrices_, rows_, k_;
    std::unique_ptr<std::uint8_t, Free> data_;
};

}  // namespace heron
