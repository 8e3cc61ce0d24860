#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace heron {
void bind_sampler(nb::module_ &) {}
}  // namespace heron
