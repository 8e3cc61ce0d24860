// The choice of the next token. The definition, in numpy, is heron/engine/numpy_sampler.py: the same tokens, without ever
// sorting the vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "candidates.h"
#include "history.h"
#include "peaks.h"
#include "rows.h"

namespace heron {

// What parameters mean in a vocabulary: heron/engine/rules.py.
struct SamplerRules {
    std::vector<std::int32_t> ends;                // barred until there are min_tokens
    std::vector<std::int32_t> barred;              // always
    std::vector<std::int32_t> allowed;             // none: all
    std::vector<std::pair<std::int32_t, double>> bias;
    std::vector<std::vector<std::int32_t>> bad_words;
    std::shared_ptr<const Breakers> breakers;
};

enum class Chosen { token, not_finite, none_allowed };

struct Sampled {
    Chosen status;
    std::int32_t token;
    double logprob;  // under the model's own distribution
    std::vector<std::pair<std::int32_t, double>> top;  // the likeliest tokens and their log-probabilities, falling
};

// A bit for each token that may be chosen, the lowest of a word first; tokens beyond its words may not. Null words: all may.
struct Mask {
    const std::uint32_t* words;
    std::int64_t count;
};

// One request's: parameters, the tokens so far, mirostat's running target.
class Sampler {
public:
    // Random numbers are those of `seed` and of the `sample`-th answer with it. Throws std::invalid_argument for a step that is not known.
    Sampler(const SamplerParams& params, const SamplerRules& rules, std::uint64_t seed, std::uint32_t sample, const std::vector<std::string>& steps);

    void accept(std::int32_t token) { history_.accept(token); }
    Sampled sample(const float* logits, std::int64_t n, std::uint64_t position, Mask mask);

private:
    struct Step;
    static const Step STEPS[];

    bool gather(Candidates& c, const Peaks& row, Mask mask) const;
    std::vector<std::int32_t> barred_now() const;
    std::vector<std::int32_t> changed() const;
    std::int64_t needed() const;
    std::int32_t choose(Candidates& c, std::uint64_t position);
    std::int64_t pick(const Candidates& c, std::uint64_t position) const;
    std::int64_t mirostat(Candidates& c, std::uint64_t position);
    double chance(std::uint64_t position, int which) const;

    SamplerParams params_;
    SamplerRules rules_;
    std::vector<std::uint32_t> allowed_;  // a mask of rules_.allowed
    std::uint64_t seed_;
    std::uint32_t sample_;
    std::vector<const Step*> steps_;
    bool greedy_;
    std::int64_t needed_;  // needed()
    History history_;
    std::int64_t generated_ = 0;
    double mu_;
    const RowKernels& rows_;
};

}  // namespace heron
