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
#include <vector>

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#include <process.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace heron {
namespace {

#if defined(__linux__)
std::vector<int> cpus_in_affinity_mask() {
    std::vector<int> cpus;
    const int limit = 4096;
    cpu_set_t* mask = CPU_ALLOC(limit);
    if (mask == nullptr) return cpus;
    const size_t size = CPU_ALLOC_SIZE(limit);
    if (sched_getaffinity(0, size, mask) == 0) {
        for (int cpu = 0; cpu < limit; ++cpu) {
            if (CPU_ISSET_S(cpu, size, mask)) cpus.push_back(cpu);
        }
    }
    CPU_FREE(mask);
    return cpus;
}
#endif

// Two numbers at the start of one file (version 2 of control groups), or of two (version 1): a quota of time and its period.
double read_quota(std::istream& quota_file, std::istream& period_file) {
    std::string quota;
    double period = 0;
    quota_file >> quota;
    period_file >> period;
    const double allowed = std::atof(quota.c_str());  // "max" and "-1" mean no limit
    return allowed > 0 && period > 0 ? allowed / period : std::numeric_limits<double>::infinity();
}

// The least quota of a control group and of those around it. A group that a container cannot see has no file, and is passed over.
double quota_of(const std::string& mount, std::string group) {
    double least = std::numeric_limits<double>::infinity();
    for (;;) {
        const std::string folder = mount + group;
        std::ifstream unified(folder + "/cpu.max"), quota(folder + "/cpu.cfs_quota_us"), period(folder + "/cpu.cfs_period_us");
        least = std::min({least, read_quota(unified, unified), read_quota(quota, period)});
        const std::size_t slash = group.rfind('/');
        if (slash == std::string::npos) return least;
        group.erase(slash);
    }
}

// Processor time that the control groups of this process leave it, in cores. A line of /proc/self/cgroup is
// "number:controllers:group", without a controller for version 2, whose mount is elsewhere where both versions are.
double quota_in_cores(const std::string& root) {
    const std::string mount = root + "/sys/fs/cgroup";
    double least = std::min(quota_of(mount, ""), quota_of(mount + "/cpu", ""));
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
        const std::string name = group == "/" ? "" : group;
        if (controllers.empty()) {
            least = std::min({least, quota_of(mount, name), quota_of(mount + "/unified", name)});
        } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
            least = std::min({least, quota_of(mount + "/" + controllers, name), quota_of(mount + "/cpu", name)});
        }
    }
    return least;
}

#if defined(_WIN32)
int cores_of_windows() {
    DWORD_PTR mine = 0, all = 0;
    DWORD bytes = 0;
    GetLogicalProcessorInformation(nullptr, &bytes);
    std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> found(bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all) || !GetLogicalProcessorInformation(found.data(), &bytes)) return 0;
    return static_cast<int>(std::count_if(found.begin(), found.end(), [&](const auto& unit) {
        return unit.Relationship == RelationProcessorCore && (unit.ProcessorMask & mine) != 0;
    }));
}
#endif

}  // namespace

int cores_of(const std::vector<int>& cpus, const std::string& root) {
    std::set<std::string> cores;  // a core is named by the list of its hyper-threads
    for (const int cpu : cpus) {
        std::ifstream file(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
        std::string siblings;
        cores.insert(std::getline(file, siblings) ? siblings : std::to_string(cpu));
    }
    return static_cast<int>(std::min(static_cast<double>(cores.size()), std::ceil(quota_in_cores(root))));
}

int usable_cores() {
    int cores = 0;
#if defined(__linux__)
    cores = cores_of(cpus_in_affinity_mask(), "");
#elif defined(__APPLE__)
    size_t size = sizeof cores;
    // Efficiency cores would hold up the others: the first performance level alone is counted.
    if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) != 0) sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0);
#elif defined(_WIN32)
    cores = cores_of_windows();
#endif
    if (cores < 1) cores = static_cast<int>(std::thread::hardware_concurrency());
    return std::max(cores, 1);
}

bool allow_tiles() {
#if defined(__linux__) && defined(__x86_64__)
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, a bit of XCR0 (Linux 5.16)
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

bool has_dot_products() {
#if defined(__linux__) && defined(__aarch64__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has;
#else
    return false;
#endif
}

bool has_matrix_products() {
#if defined(__linux__) && defined(__aarch64__)
    constexpr unsigned long I8MM = 1ul << 13;  // HWCAP2_I8MM, which older headers lack
    return getauxval(AT_HWCAP2) & I8MM;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, nullptr, 0) == 0 && has;
#else
    return false;
#endif
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
void will_read(const void* data, std::int64_t bytes) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t first = begin / page * page;
    madvise(reinterpret_cast<void*>(first), begin - first + static_cast<std::uintptr_t>(bytes), MADV_WILLNEED);
}

void release_file_pages(const void* data, std::int64_t bytes) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t first = (begin + page - 1) / page * page, last = (begin + static_cast<std::uintptr_t>(bytes)) / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

bool is_in_memory(const void* data) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
#if defined(__linux__)
    unsigned char state = 0;
#else
    char state = 0;
#endif
    return mincore(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(data) / page * page), static_cast<std::size_t>(page), &state) == 0 && (state & 1);
}

bool lock_in_memory(const void* data, std::int64_t bytes) { return mlock(data, static_cast<std::size_t>(bytes)) == 0; }
#else
void will_read(const void*, std::int64_t) {}

void release_file_pages(const void*, std::int64_t) {}

bool is_in_memory(const void*) { return false; }

bool lock_in_memory(const void*, std::int64_t) { return false; }
#endif

}  // namespace heron
