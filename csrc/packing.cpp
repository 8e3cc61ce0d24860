#include "packing.h"

#include <algorithm>

#include "platform.h"

namespace heron {
namespace {

constexpr std::int64_t PIECE = std::int64_t{1} << 20;   // bytes that one thread packs at a time
constexpr std::int64_t AHEAD = std::int64_t{32} << 20;  // bytes that are on their way from the disk
constexpr std::int64_t LEAST_PAGE = 4096;

}  // namespace

void Packing::add(const Weight& weight, std::size_t matrix, std::int64_t first, const std::uint8_t* rows, std::int64_t stride, std::int64_t n) {
    const PackedMatrix& to = weight.matrices.at(matrix);
    const Layout& layout = *to.layout;
    if (to.in_file || first < 0 || first % layout.rows || first + n > to.rows || stride < layout.format->row_bytes(to.k)) {
        throw ProgramError(weight.name + ": rows do not fit the matrix");
    }
    const std::int64_t step = std::max<std::int64_t>(1, PIECE / (layout.rows * stride)) * layout.rows;
    for (std::int64_t at = 0; at < n; at += step) {
        std::uint8_t* panel = weight.memory->data() + (to.data - weight.memory->data()) + (first + at) / layout.rows * layout.panel_bytes(to.k);
        pieces_.push_back({&layout, to.k, stride, std::min(step, n - at), rows + at * stride, panel});
    }
}

void Packing::run(ThreadPool& pool) {
    std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.from < b.from; });
    const auto count = static_cast<std::int64_t>(pieces_.size());
    const auto expect = [&](std::int64_t i) {
        if (i < count) will_read(pieces_[static_cast<std::size_t>(i)].from, pieces_[static_cast<std::size_t>(i)].bytes());
    };
    for (std::int64_t i = 0; i < AHEAD / PIECE; ++i) expect(i);
    pool.run(count, [&](std::int64_t i, int) {
        if (cancelled_) return;
        expect(i + AHEAD / PIECE);
        const Piece& piece = pieces_[static_cast<std::size_t>(i)];
        pack(*piece.layout, piece.k, piece.from, piece.stride, piece.rows, piece.to);
        release_file_pages(piece.from, piece.bytes());
    });
    release_all();
    pieces_.clear();
}

// The pages that two pieces share, and those that came along with a piece's neighbours after it had been released.
// Where pieces are further apart than a page, what lies between them may be anything.
void Packing::release_all() const {
    for (std::size_t i = 0; i < pieces_.size();) {
        const std::uint8_t *begin = pieces_[i].from, *end = begin;
        for (; i < pieces_.size() && pieces_[i].from - end < LEAST_PAGE; ++i) end = pieces_[i].from + pieces_[i].bytes();
        release_file_pages(begin, end - begin);
    }
}

}  // namespace heron
