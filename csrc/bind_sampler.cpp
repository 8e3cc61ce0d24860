// The sampler in Python: _core.Breakers, _core.Sampler, _core.SamplerPool.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "sampler.h"
#include "threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

SamplerParams params_of(const nb::object& given) {
    SamplerParams p{};
    const std::pair<const char*, double*> numbers[] = {
        {"temperature", &p.temperature}, {"dynatemp_range", &p.dynatemp_range}, {"dynatemp_exponent", &p.dynatemp_exponent}, {"top_p", &p.top_p},
        {"min_p", &p.min_p}, {"typical_p", &p.typical_p}, {"top_n_sigma", &p.top_n_sigma}, {"xtc_probability", &p.xtc_probability},
        {"xtc_threshold", &p.xtc_threshold}, {"repeat_penalty", &p.repeat_penalty}, {"frequency_penalty", &p.frequency_penalty},
        {"presence_penalty", &p.presence_penalty}, {"dry_multiplier", &p.dry_multiplier}, {"dry_base", &p.dry_base},
        {"mirostat_tau", &p.mirostat_tau}, {"mirostat_eta", &p.mirostat_eta}};
    const std::pair<const char*, std::int64_t*> counts[] = {
        {"top_k", &p.top_k}, {"repeat_last_n", &p.repeat_last_n}, {"dry_allowed_length", &p.dry_allowed_length},
        {"dry_penalty_last_n", &p.dry_penalty_last_n}, {"mirostat", &p.mirostat}, {"min_tokens", &p.min_tokens}, {"top_logprobs", &p.top_logprobs}};
    for (const auto& [name, to] : numbers) *to = nb::cast<double>(given.attr(name));
    for (const auto& [name, to] : counts) *to = nb::cast<std::int64_t>(given.attr(name));
    return p;
}

SamplerRules rules_of(const nb::object& given) {
    const auto ids = [&](const char* name) { return nb::cast<std::vector<std::int32_t>>(given.attr(name)); };
    return {ids("ends"), ids("barred"), ids("allowed"), nb::cast<std::vector<std::pair<std::int32_t, double>>>(given.attr("bias")),
            nb::cast<std::vector<std::vector<std::int32_t>>>(given.attr("bad_words")), nullptr};
}

struct SamplerPool {
    explicit SamplerPool(int threads) : pool(threads) {}
    ThreadPool pool;
};

nb::list sample(SamplerPool& threads, const std::vector<Sampler*>& samplers, Rows logits, const std::vector<std::int64_t>& rows,
                const std::vector<std::uint64_t>& positions, const std::vector<std::optional<Words>>& masks) {
    const std::size_t count = samplers.size();
    if (rows.size() != count || positions.size() != count || masks.size() != count) throw std::invalid_argument("of each request one row, position and mask");
    const auto n = static_cast<std::int64_t>(logits.shape(1));
    for (const std::int64_t row : rows) {
        if (row < 0 || row >= static_cast<std::int64_t>(logits.shape(0))) throw std::invalid_argument("there is no such row of logits");
    }
    std::vector<Sampled> chosen(count);
    {
        const nb::gil_scoped_release release;
        threads.pool.run(static_cast<std::int64_t>(count), [&](std::int64_t i, int) {
            const auto at = static_cast<std::size_t>(i);
            const Mask mask = masks[at] ? Mask{masks[at]->data(), static_cast<std::int64_t>(masks[at]->size())} : Mask{nullptr, 0};
            chosen[at] = samplers[at]->sample(logits.data() + rows[at] * n, n, positions[at], mask);
        });
    }
    nb::list found;
    for (const Sampled& s : chosen) found.append(nb::make_tuple(static_cast<int>(s.status), s.token, s.logprob, s.top));
    return found;
}

}  // namespace

void bind_sampler(nb::module_& m) {
    nb::class_<Breakers>(m, "Breakers", "Sequences of tokens that repetitions do not reach across: csrc/history.h.")
        .def(nb::init<const std::vector<std::vector<std::int32_t>>&>(), "sequences"_a);
    nb::class_<Sampler>(m, "Sampler", "One request's sampler: csrc/sampler.h.")
        .def("__init__", [](Sampler* self, const nb::object& params, const nb::object& rules, std::shared_ptr<Breakers> breakers, std::uint64_t seed,
                            std::uint32_t sample, const std::vector<std::string>& steps) {
            SamplerRules known = rules_of(rules);
            known.breakers = std::move(breakers);
            new (self) Sampler(params_of(params), known, seed, sample, steps);
        }, "params"_a, "rules"_a, "breakers"_a.none(), "seed"_a, "sample"_a, "steps"_a)
        .def("accept", [](Sampler& self, const std::vector<std::int32_t>& tokens) {
            for (const std::int32_t token : tokens) self.accept(token);
        }, "tokens"_a);
    nb::class_<SamplerPool>(m, "SamplerPool", "Threads that choose the tokens of a step.")
        .def(nb::init<int>(), "threads"_a)
        .def("sample", &sample, "samplers"_a, "logits"_a, "rows"_a, "positions"_a, "masks"_a,
             "The next tokens by rows of logits, float32 [R, vocab], and masks, uint32 [words] or None -> of each (status, token, log-probability, "
             "the likeliest tokens). Status 1: logits are not finite; 2: no token is allowed.");
}

}  // namespace heron
