// _core.quantize: rows of f32 -> rows of blocks.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "quantize.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Importance = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Blocks = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<2>>;

// One that can be written, or null.
const Format* find_format(const std::string& name) {
    for (const Format* format = FORMATS; format->name; ++format) {
        if (name == format->name && can_quantize(format->id)) return format;
    }
    return nullptr;
}

Isa isa_named(const std::string& name) {
    if (name.empty()) return chosen_isa();
    for (const Isa isa : isas_here()) {
        if (name == name_of(isa)) return isa;
    }
    throw std::invalid_argument("this CPU does not run " + name);
}

Blocks quantize_rows(const std::string& name, Rows values, std::optional<Importance> importance, int threads, const std::string& isa_name) {
    const Format* format = find_format(name);
    if (!format) throw std::invalid_argument("there is no quantizer for " + name);
    const auto rows = static_cast<std::int64_t>(values.shape(0)), n = static_cast<std::int64_t>(values.shape(1));
    if (n % format->block) throw std::invalid_argument(std::to_string(n) + " values are not whole blocks of " + name);
    if (importance && importance->shape(0) != values.shape(1)) throw std::invalid_argument("importance is one number a column");
    const Isa isa = isa_named(isa_name);
    const std::int64_t row_bytes = format->row_bytes(n);
    auto* out = new std::uint8_t[static_cast<std::size_t>(rows * row_bytes)];
    const nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<std::uint8_t*>(p); });
    std::int64_t bad;
    {
        nb::gil_scoped_release release;
        ThreadPool pool(threads);
        bad = quantize(*format, isa, pool, values.data(), rows, n, importance ? importance->data() : nullptr, out);
    }
    if (bad >= 0) throw std::invalid_argument("row " + std::to_string(bad) + " has a number that is not finite");
    return Blocks(out, {static_cast<std::size_t>(rows), static_cast<std::size_t>(row_bytes)}, owner);
}

}  // namespace

void bind_quantize(nb::module_& m) {
    m.def("can_quantize", [](const std::string& name) { return find_format(name) != nullptr; });
    m.def("quantize", quantize_rows, "format"_a, "values"_a, "importance"_a = nb::none(), "threads"_a = 0, "isa"_a = "");
}

}  // namespace heron
