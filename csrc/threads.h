// A pool of threads that work off one job at a time.
//
// Parts of a job are claimed from an atomic counter, by the workers and by the caller. Nobody waits
// for a worker that has claimed nothing: where other processes keep the workers from running, the caller does
// everything itself. Idle threads spin for at most SPIN_MICROSECONDS and then park.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace heron {

class ThreadPool {
public:
    static constexpr int SPIN_MICROSECONDS = 50;

    // `threads` counts the caller; 0 means one for each core that this process may use.
    explicit ThreadPool(int threads = 0);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return threads_; }

    // Calls body(chunk, worker) for each chunk in [0, chunks), worker in [0, size()), and returns when all are done.
    // Rethrows the first exception of a body; chunks not begun by then are skipped. One caller at a time, no nesting.
    template <class Body>
    void run(std::int64_t chunks, const Body& body) {
        claims(chunks, 1, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t i = begin; i < end; ++i) body(i, worker);
        });
    }

    // Calls body(begin, end, worker) on ranges that cover [0, count), each of at least `grain` (but the last). They are
    // large at first and small at the end, so that threads end together.
    template <class Body>
    void ranges(std::int64_t count, std::int64_t grain, const Body& body) {
        claims(count, grain, std::max(grain, (count + threads_ * CHUNKS_PER_THREAD - 1) / (threads_ * CHUNKS_PER_THREAD)), body);
    }

private:
    // Few enough that claiming costs nothing, many enough that a thread that is held up delays the others by little.
    static constexpr std::int64_t CHUNKS_PER_THREAD = 8;

    struct Job {
        void (*call)(const void* context, std::int64_t begin, std::int64_t end, int worker);
        const void* context;
        std::int64_t count;
    };

    // Claims of `least` to `most` of `count`: half of a thread's share of what is left, within these bounds.
    template <class Body>
    void claims(std::int64_t count, std::int64_t least, std::int64_t most, const Body& body) {
        if (count <= 0) return;
        if (threads_ == 1 || count <= most) return body(0, count, 0);
        const auto call = [](const void* context, std::int64_t begin, std::int64_t end, int worker) { (*static_cast<const Body*>(context))(begin, end, worker); };
        run_job({call, &body, count}, least, most);
    }

    void run_job(const Job& job, std::int64_t least, std::int64_t most);
    void work(int worker);
    void loop(int worker);

    int threads_;
    long owner_;  // the process that the workers live in
    Job job_{};
    std::exception_ptr error_;
    std::mutex error_lock_;
    std::atomic<std::uint32_t> least_{1}, most_{1};      // of a claim
    alignas(64) std::atomic<std::uint64_t> tickets_{0};  // job number << 32 | how much is not yet claimed
    alignas(64) std::atomic<std::uint32_t> done_{0};     // how much is finished
    alignas(64) std::atomic<std::uint32_t> signal_{0};   // changes with every job
    std::atomic<int> parked_{0};
    std::atomic<bool> failed_{false}, caller_parked_{false}, stop_{false};
    std::vector<std::thread>* workers_ = nullptr;
};

}  // namespace heron
