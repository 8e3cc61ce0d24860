#include "platform.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <set>
#include <string>
#include <thread>

#if defined(_WIN32)
#include <process.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace heron {
namespace {

#if defined(__linux__)
// The number of cores whose hyper-threads intersect the affinity mask.
int cores_in_affinity_mask() {
    std::set<std::string> cores;  // a core is named by the list of its hyper-threads
    const int limit = 4096;
    cpu_set_t* mask = CPU_ALLOC(limit);
    const size_t size = CPU_ALLOC_SIZE(limit);
    if (mask == nullptr) return 0;
    if (sched_getaffinity(0, size, mask) == 0) {
        for (int cpu = 0; cpu < limit; ++cpu) {
            if (!CPU_ISSET_S(cpu, size, mask)) continue;
            std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
            std::string siblings;
            cores.insert(std::getline(file, siblings) ? siblings : std::to_string(cpu));
        }
    }
    CPU_FREE(mask);
    return static_cast<int>(cores.size());
}

// The control group's quota in cores, rounded up; version 2 states "quota period", version 1 has a file for each.
double quota_in_cores() {
    std::string quota;
    double period = 0;
    std::ifstream unified("/sys/fs/cgroup/cpu.max");
    if (!(unified >> quota >> period)) {
        std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
        quota_file >> quota;
        period_file >> period;
    }
    const double allowed = std::atof(quota.c_str());  // "max" and "-1" mean no limit
    return allowed > 0 && period > 0 ? std::ceil(allowed / period) : std::numeric_limits<double>::infinity();
}
#endif

}  // namespace

int usable_cores() {
    int cores = 0;
#if defined(__linux__)
    cores = static_cast<int>(std::min<double>(cores_in_affinity_mask(), quota_in_cores()));
#elif defined(__APPLE__)
    size_t size = sizeof cores;
    // Efficiency cores would hold up the others: the first performance level alone is counted.
    if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) != 0) sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0);
#endif
    if (cores < 1) cores = static_cast<int>(std::thread::hardware_concurrency());
    return std::max(cores, 1);
}

long process_id() {
#if defined(_WIN32)
    return _getpid();
#else
    return getpid();
#endif
}

// The address sanitizer watches the ends of what is allocated, not of what is mapped.
#if (defined(__linux__) || defined(__APPLE__)) && !defined(__SANITIZE_ADDRESS__)

constexpr std::size_t HUGE_PAGE = std::size_t{1} << 21;

// Room for one huge page more, so that the data can begin at one; what is not touched takes no memory.
Pages::Pages(std::int64_t bytes) : bytes_(bytes) {
    const auto size = static_cast<std::size_t>(bytes);
    mapped_ = mmap(nullptr, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ == MAP_FAILED) throw std::bad_alloc();
    const auto begin = reinterpret_cast<std::uintptr_t>(mapped_);
    data_ = reinterpret_cast<std::uint8_t*>((begin + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
#if defined(MADV_HUGEPAGE)
    if (size >= HUGE_PAGE) madvise(data_, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
}

Pages::~Pages() { munmap(mapped_, static_cast<std::size_t>(bytes_) + HUGE_PAGE); }

#else

Pages::Pages(std::int64_t bytes) : mapped_(::operator new(static_cast<std::size_t>(bytes), std::align_val_t(64))), bytes_(bytes) {
    data_ = static_cast<std::uint8_t*>(mapped_);
    std::memset(data_, 0, static_cast<std::size_t>(bytes));
}

Pages::~Pages() { ::operator delete(mapped_, std::align_val_t(64)); }

#endif

#if defined(__linux__) || defined(__APPLE__)
void release_file_pages(const void* data, std::int64_t bytes) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = (begin + static_cast<std::uintptr_t>(bytes)) / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}
#else
void release_file_pages(const void*, std::int64_t) {}
#endif

}  // namespace heron
