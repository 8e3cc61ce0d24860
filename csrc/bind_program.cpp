#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace heron {
void bind_program(nb::module_ &) {}
}  // namespace heron
