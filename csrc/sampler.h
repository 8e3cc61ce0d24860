// The choice of the next token. The definition, in numpy, is heron/engine/sampler.py: the same tokens, without ever
// sorting the vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "rows.h"

namespace heron {

// As SamplingParams (heron/engine/sampling.py) has them.
struct SamplerParams {
    double temperature, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty, mirostat_tau, mirostat_eta;
    std::int64_t top_k, repeat_last_n, mirostat;
};

struct Sampled {
    std::int32_t token;
    double logprob;  // under the model's own distribution
};

struct Candidates;

// One request's: parameters, the tokens that penalties see, mirostat's running target.
class Sampler {
public:
    // Random numbers are those of `seed` and of the `sample`-th answer with it. Throws std::invalid_argument for a step that is not known.
    Sampler(const SamplerParams& params, std::uint64_t seed, std::uint32_t sample, const std::vector<std::string>& steps);

    void accept(std::int32_t token);

    // Throws std::domain_error where no logit is finite, or one is NaN or infinite.
    Sampled sample(const float* logits, std::int64_t n, std::uint64_t position);

private:
    using Step = void (*)(Candidates&, const SamplerParams&);

    std::int32_t choose(const float* logits, std::int64_t n, std::uint64_t position);
    void penalize(std::vector<double>& logits) const;
    std::int64_t pick(const Candidates& c, std::uint64_t position) const;
    std::int64_t mirostat(Candidates& c, std::uint64_t position);

    SamplerParams params_;
    std::uint64_t seed_;
    std::uint32_t sample_;
    std::vector<Step> steps_;
    std::vector<std::int32_t> history_;
    std::unordered_map<std::int32_t, std::int64_t> counts_;  // of the tokens in the penalties' window
    double mu_;
    const RowKernels& rows_;
};

}  // namespace heron
