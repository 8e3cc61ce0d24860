#include "packing.h"

#include <algorithm>

#include "platform.h"

namespace heron {
namespace {

constexpr std::int64_t PIECE = std::int64_t{1} << 20;   // bytes that one thread packs at a time
constexpr std::int64_t AHEAD = std::int64_t{32} << 20;  // bytes that are on their way from the disk
constexpr std::int64_t TURN = 8;                         // pieces a thread packs before a step may come in between
constexpr std::int64_t LEAST_PAGE = 4096;

}  // namespace

void Packing::add(Weight& weight, std::size_t matrix, const std::uint8_t* rows, std::int64_t stride, std::int64_t n) {
    PackedMatrix& to = weight.matrices.at(matrix);
    const Layout& layout = *to.layout;
    if (to.in_file || n != to.rows || stride < layout.format->row_bytes(to.k)) throw ProgramError(weight.name + ": rows do not fit the matrix");
    const std::int64_t step = std::max<std::int64_t>(1, PIECE / (layout.rows * stride)) * layout.rows;
    targets_.push_back({&to, to.data, (n + step - 1) / step});
    for (std::int64_t at = 0; at < n; at += step) {
        std::uint8_t* panel = weight.memory->data() + (to.data - weight.memory->data()) + at / layout.rows * layout.panel_bytes(to.k);
        pieces_.push_back({&layout, to.k, stride, std::min(step, n - at), rows + at * stride, panel, targets_.size() - 1});
    }
    left_ += layout.bytes(n, to.k);
    if (stride == layout.format->row_bytes(to.k)) to.data = rows, to.in_file = true;
}

void Packing::run(ThreadPool& pool) {
    std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.from < b.from; });
    const auto count = static_cast<std::int64_t>(pieces_.size());
    for (std::int64_t at = 0, turn; at < count && !cancelled_; at += turn) {
        std::unique_lock<std::mutex> lock(turns_);
        turn_.wait(lock, [&] { return !held_ || cancelled_; });
        busy_ = true;
        lock.unlock();
        const bool hurried = hurried_;
        turn = hurried ? TURN * pool.size() : 1;
        pack_some(hurried ? &pool : nullptr, at, std::min(count, at + turn));
        lock.lock();
        busy_ = false;
        turn_.notify_all();
    }
    release_all();
    pieces_.clear();
}

void Packing::pack_some(ThreadPool* pool, std::int64_t begin, std::int64_t end) {
    const auto expect = [&](std::int64_t i) {
        if (i < static_cast<std::int64_t>(pieces_.size())) will_read(pieces_[static_cast<std::size_t>(i)].from, pieces_[static_cast<std::size_t>(i)].bytes());
    };
    for (std::int64_t i = 0; begin == 0 && i < AHEAD / PIECE; ++i) expect(i);
    const auto pack_one = [&](std::int64_t i) {
        if (cancelled_) return;
        expect(i + AHEAD / PIECE);
        const Piece& piece = pieces_[static_cast<std::size_t>(i)];
        pack(*piece.layout, piece.k, piece.from, piece.stride, piece.rows, piece.to);
        release_file_pages(piece.from, piece.bytes());
        left_ -= piece.layout->bytes(piece.rows, piece.k);
    };
    if (pool) {
        pool->run(end - begin, [&](std::int64_t i, int) { pack_one(begin + i); });
    } else {
        for (std::int64_t i = begin; i < end; ++i) pack_one(i);
    }
    for (std::int64_t i = begin; i < end && !cancelled_; ++i) {
        Target& target = targets_[pieces_[static_cast<std::size_t>(i)].target];
        if (--target.left == 0) target.matrix->data = target.packed, target.matrix->in_file = false;
    }
}

void Packing::cancel() {
    const std::lock_guard<std::mutex> lock(turns_);
    cancelled_ = true;
    turn_.notify_all();
}

void Packing::hold() {
    std::unique_lock<std::mutex> lock(turns_);
    held_ = true;
    turn_.wait(lock, [&] { return !busy_; });
}

void Packing::go_on() {
    const std::lock_guard<std::mutex> lock(turns_);
    held_ = false;
    turn_.notify_all();
}

bool Packing::can_wait() const {
    for (const Piece& piece : pieces_) {
        if (!targets_[piece.target].matrix->in_file || !is_in_memory(piece.from)) return false;
    }
    return true;
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
