#include "threads.h"

#include <chrono>
#include <limits>
#include <stdexcept>

#include "platform.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace heron {
namespace {

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Spins until `ready()`, for a short time. Returns whether it became so.
template <class Ready>
bool spin_until(const Ready& ready) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::microseconds(ThreadPool::SPIN_MICROSECONDS);
    do {
        for (int i = 0; i < 32; ++i) {
            if (ready()) return true;
            pause();
        }
    } while (Clock::now() < end);
    return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads > 0 ? threads : usable_cores()), owner_(process_id()), workers_(new std::vector<std::thread>) {
    for (int i = 1; i < threads_; ++i) workers_->emplace_back([this, i] { loop(i); });
}

ThreadPool::~ThreadPool() {
    if (process_id() != owner_) return;  // a forked child has the objects of the workers, but not the threads: left alone
    stop_ = true;
    signal_.fetch_add(1);
    signal_.notify_all();
    for (std::thread& worker : *workers_) worker.join();
    delete workers_;
}

void ThreadPool::run_job(const Job& job, std::int64_t least, std::int64_t most) {
    if (job.count > std::numeric_limits<std::uint32_t>::max()) throw std::length_error("a job has more parts than the pool can count");
    job_ = job;
    least_.store(static_cast<std::uint32_t>(least), std::memory_order_relaxed);
    most_.store(static_cast<std::uint32_t>(most), std::memory_order_relaxed);
    error_ = nullptr;
    failed_.store(false, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t number = (tickets_.load(std::memory_order_relaxed) >> 32) + 1;
    tickets_.store(number << 32 | static_cast<std::uint64_t>(job.count), std::memory_order_release);
    signal_.fetch_add(1);
    if (parked_.load() > 0) signal_.notify_all();

    work(0);
    const auto count = static_cast<std::uint32_t>(job.count);
    const auto finished = [&] { return done_.load(std::memory_order_acquire) == count; };
    if (!finished() && !spin_until(finished)) {
        caller_parked_.store(true);
        for (std::uint32_t now = done_.load(); now != count; now = done_.load()) done_.wait(now);
        caller_parked_.store(false);
    }
    if (error_) std::rethrow_exception(error_);
}

// Claims and runs parts of the job until there are none. A claim that succeeds is proof that the job is the current one,
// since the job ends only after all that was claimed is done; so job_ may be read then, and only then, and the bounds
// that the claim was made with were the job's own.
void ThreadPool::work(int worker) {
    std::uint64_t ticket = tickets_.load(std::memory_order_acquire);
    while (const auto left = static_cast<std::uint32_t>(ticket)) {
        const std::uint32_t least = least_.load(std::memory_order_relaxed), most = most_.load(std::memory_order_relaxed);
        const std::uint32_t fair = left / static_cast<std::uint32_t>(2 * threads_), claim = std::min(left, std::min(std::max(fair, least), most));
        if (!tickets_.compare_exchange_weak(ticket, ticket - claim, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
        const auto count = static_cast<std::uint32_t>(job_.count);
        if (!failed_.load(std::memory_order_relaxed)) {
            try {
                job_.call(job_.context, count - left, count - left + claim, worker);
            } catch (...) {
                const std::lock_guard<std::mutex> guard(error_lock_);
                if (!error_) error_ = std::current_exception();
                failed_.store(true, std::memory_order_relaxed);
            }
        }
        if (done_.fetch_add(claim) + claim == count && caller_parked_.load()) done_.notify_all();
        ticket = tickets_.load(std::memory_order_acquire);
    }
}

void ThreadPool::loop(int worker) {
    for (;;) {
        const std::uint32_t seen = signal_.load();
        if (stop_) return;
        work(worker);
        if (spin_until([&] { return signal_.load(std::memory_order_relaxed) != seen; })) continue;
        parked_.fetch_add(1);
        signal_.wait(seen);
        parked_.fetch_sub(1);
    }
}

}  // namespace heron
