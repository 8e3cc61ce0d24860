// The Python module heron._core. Each part of the core registers its own functions.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace heron {
void bind_kernels(nb::module_ &m);
void bind_program(nb::module_ &m);
void bind_quantize(nb::module_ &m);
void bind_sampler(nb::module_ &m);
void bind_text(nb::module_ &m);
}  // namespace heron

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // at exit Python does not free what modules and threads still hold; the system does
    m.doc() = "Heron's CPU core: kernels, the program executor, the sampler and vocabularies.";
    heron::bind_kernels(m);
    heron::bind_program(m);
    heron::bind_quantize(m);
    heron::bind_sampler(m);
    heron::bind_text(m);
}
