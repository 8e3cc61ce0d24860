// What differs between operating systems: the only file (with platform.cpp) that names one.
#pragma once

namespace heron {

// Physical cores that this process may use: those of its affinity mask, at most its control group's quota of time.
int usable_cores();

// This process's id, to notice that it was forked.
long process_id();

}  // namespace heron
