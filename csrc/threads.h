// A pool of threads that work off chunks of one job at a time.
//
// The chunks of a job are claimed one by one from an atomic counter, by the workers and by the caller. Nobody waits
// for a worker that has claimed nothing: where other processes keep the workers from running, the caller does all
// chunks itself. Idle threads spin for at most SPIN_MICROSECONDS and then park.
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
        if (threads_ == 1 || chunks <= 1) {
            for (std::int64_t i = 0; i < chunks; ++i) body(i, 0);
            return;
        }
        const Job job{[](const void* context, std::int64_t chunk, int worker) { (*static_cast<const Body*>(context))(chunk, worker); }, &body, chunks};
        run_job(job);
    }

    // Calls body(begin, end, worker) on ranges that cover [0, count), each of at least `grain` (but the last).
    template <class Body>
    void ranges(std::int64_t count, std::int64_t grain, const Body& body) {
        if (count <= 0) return;
        const std::int64_t step = std::max(grain, (count + threads_ * CHUNKS_PER_THREAD - 1) / (threads_ * CHUNKS_PER_THREAD));
        if (threads_ == 1 || count <= step) return body(0, count, 0);
        run((count + step - 1) / step, [&](std::int64_t i, int worker) { body(i * step, std::min(count, (i + 1) * step), worker); });
    }

private:
    // Few enough that claiming costs nothing, many enough that a thread that is held up delays the others by little.
    static constexpr std::int64_t CHUNKS_PER_THREAD = 8;

    struct Job {
        void (*call)(const void* context, std::int64_t chunk, int worker);
        const void* context;
        std::int64_t chunks;
    };

    void run_job(const Job& job);
    void work(int worker);
    void loop(int worker);

    int threads_;
    long owner_;  // the process that the workers live in
    Job job_{};
    std::exception_ptr error_;
    std::mutex error_lock_;
    alignas(64) std::atomic<std::uint64_t> tickets_{0};  // job number << 32 | chunks not yet claimed
    alignas(64) std::atomic<std::uint32_t> done_{0};     // chunks finished
    alignas(64) std::atomic<std::uint32_t> signal_{0};   // changes with every job
    std::atomic<int> parked_{0};
    std::atomic<bool> failed_{false}, caller_parked_{false}, stop_{false};
    std::vector<std::thread>* workers_ = nullptr;
};

}  // namespace heron
