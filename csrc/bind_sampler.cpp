#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "sampler.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Row = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

SamplerParams params_of(const nb::object& given) {
    const auto number = [&](const char* name) { return nb::cast<double>(given.attr(name)); };
    const auto whole = [&](const char* name) { return nb::cast<std::int64_t>(given.attr(name)); };
    return {number("temperature"), number("top_p"), number("min_p"), number("typical_p"), number("repeat_penalty"), number("frequency_penalty"),
            number("presence_penalty"), number("mirostat_tau"), number("mirostat_eta"), whole("top_k"), whole("repeat_last_n"), whole("mirostat")};
}

}  // namespace

void bind_sampler(nb::module_& m) {
    nb::class_<Sampler>(m, "Sampler", "One request's sampler: csrc/sampler.h.")
        .def("__init__", [](Sampler* self, const nb::object& params, std::uint64_t seed, std::uint32_t sample, const std::vector<std::string>& steps) {
            new (self) Sampler(params_of(params), seed, sample, steps);
        }, "params"_a, "seed"_a, "sample"_a, "steps"_a)
        .def("accept", [](Sampler& self, const std::vector<std::int32_t>& tokens) {
            for (const std::int32_t token : tokens) self.accept(token);
        }, "tokens"_a)
        .def("sample", [](Sampler& self, Row logits, std::uint64_t position) {
            Sampled sampled;
            {
                const nb::gil_scoped_release release;
                sampled = self.sample(logits.data(), static_cast<std::int64_t>(logits.size()), position);
            }
            return nb::make_tuple(sampled.token, sampled.logprob);
        }, "logits"_a, "position"_a, "float32 [vocab] -> (token, log-probability). ValueError where no logit is finite, or one is NaN.");
}

}  // namespace heron
