// Rewriting matrices from where they are read into the layouts of products: in pieces, on all threads.
//
// Pieces are packed in the order of their addresses, so that a file that is not in memory yet is read from one end to
// the other; the operating system is told what will be read next, and which pages of the file are not needed again.
//
// Until a matrix is packed it is used where it lies in the file (PackedMatrix::in_file), with the same results: a step need not
// wait, but holds packing up, since both want all threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "program.h"

namespace heron {

class Packing {
public:
    // All rows of one matrix, `stride` bytes apart in a mapped file. Throws ProgramError for rows that do not fit the matrix.
    void add(Weight& weight, std::size_t matrix, const std::uint8_t* rows, std::int64_t stride, std::int64_t n);

    // Packs all that was added, whose memory must last until then: on the calling thread, which leaves the others to whoever prepares
    // the first step, and from hurry() on, when somebody waits, on all of the pool.
    void run(ThreadPool& pool);
    void hurry() { hurried_ = true; }

    // From another thread: run() returns soon, with weights that are good for nothing.
    void cancel();

    // From another thread: the matrices stay as they are from the return of hold() to go_on(), and so does the pool.
    void hold();
    void go_on();

    // Whether every matrix can be used while it is not packed, and its file seems to be in memory: reading that from
    // one end to the other, as run() does, is faster than as a step needs it.
    bool can_wait() const;

    std::int64_t left() const { return left_; }  // bytes to write

private:
    struct Target {
        PackedMatrix* matrix;
        const std::uint8_t* packed;
        std::int64_t left;  // pieces
    };
    struct Piece {
        const Layout* layout;
        std::int64_t k, stride, rows;
        const std::uint8_t* from;
        std::uint8_t* to;
        std::size_t target;

        // Not beyond the last row: there the file may end, and what follows is somebody else's memory.
        std::int64_t bytes() const { return stride * (rows - 1) + layout->format->row_bytes(k); }
    };

    void pack_some(ThreadPool* pool, std::int64_t begin, std::int64_t end);
    void release_all() const;

    std::vector<Target> targets_;
    std::vector<Piece> pieces_;
    std::atomic<std::int64_t> left_{0};
    std::atomic<bool> cancelled_{false}, hurried_{false};
    std::mutex turns_;
    std::condition_variable turn_;
    bool held_ = false, busy_ = false;
};

}  // namespace heron
