// What differs between operating systems: the only file (with platform.cpp) that names one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace heron {

// Physical cores that this process may use, and so the threads it works with unless told otherwise: those of its
// affinity mask, hyper-threads of one core counted once, and at most its control groups' quota of time, rounded up.
int usable_cores();

// The same for a process that may run on `cpus` of a machine that Linux describes in files under `root` ("" for this one).
int cores_of(const std::vector<int>& cpus, const std::string& root);
// Lets this process use AMX's tiles, which Linux grants for the asking; whether it may.
bool allow_tiles();

// Whether an aarch64 CPU adds products of four bytes to a number in one step (FEAT_DotProd).
bool has_dot_products();

// Whether it multiplies 2 x 8 by 8 x 2 bytes (FEAT_I8MM).
bool has_matrix_products();

// This process's id, to notice that it was forked.
long process_id();

// Memory for much data: zeroed, aligned to 64 bytes, on huge pages where the system has them.
class Pages {
public:
    explicit Pages(std::int64_t bytes);  // throws std::bad_alloc
    ~Pages();
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    std::uint8_t* data() const { return data_; }
    std::int64_t bytes() const { return bytes_; }

private:
    void* mapped_;
    std::uint8_t* data_;
    std::int64_t bytes_;
};

// Hints about memory that is a mapped file's, which some systems do not take.
// These bytes will be read soon: bring them from the disk meanwhile.
void will_read(const void* data, std::int64_t bytes);
// The pages that lie within these bytes are not needed again soon: they stop counting as this process's memory, and
// would be read again. Of memory that is no file's, what it holds would be lost.
void release_file_pages(const void* data, std::int64_t bytes);

// Whether the first of these bytes, a mapped file's, seems to be in memory. No where the system does not say.
bool is_in_memory(const void* data);

// Keeps these bytes in memory, whatever else asks for it. Whether the system allows so much.
bool lock_in_memory(const void* data, std::int64_t bytes);

}  // namespace heron
