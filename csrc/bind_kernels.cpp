#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace heron {
void bind_kernels(nb::module_ &) {}
}  // namespace heron
