// Rewriting matrices from where they are read into the layouts of products: in pieces, on all threads.
//
// Pieces are packed in the order of their addresses, so that a file that is not in memory yet is read from one end to
// the other; the operating system is told what will be read next, and which pages of the file are not needed again.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "program.h"

namespace heron {

class Packing {
public:
    // Rows [first, first + n) of one matrix, `stride` bytes apart in a mapped file. `first` begins a panel.
    // Throws ProgramError for rows that do not fit the matrix.
    void add(const Weight& weight, std::size_t matrix, std::int64_t first, const std::uint8_t* rows, std::int64_t stride, std::int64_t n);

    // Packs all that was added, whose memory must last until then.
    void run(ThreadPool& pool);

    // From another thread: run() returns soon, with weights that are good for nothing.
    void cancel() { cancelled_ = true; }

private:
    struct Piece {
        const Layout* layout;
        std::int64_t k, stride, rows;
        const std::uint8_t* from;
        std::uint8_t* to;

        // Not beyond the last row: there the file may end, and what follows is somebody else's memory.
        std::int64_t bytes() const { return stride * (rows - 1) + layout->format->row_bytes(k); }
    };

    void release_all() const;

    std::vector<Piece> pieces_;
    std::atomic<bool> cancelled_{false};
};

}  // namespace heron
