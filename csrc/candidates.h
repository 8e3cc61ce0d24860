// The tokens still in play, and the steps that narrow them. The definition, in numpy, is heron/engine/candidates.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace heron {

// As SamplingParams (heron/engine/sampling.py) has them.
struct SamplerParams {
    double temperature, dynatemp_range, dynatemp_exponent, top_p, min_p, typical_p, top_n_sigma, xtc_probability, xtc_threshold, repeat_penalty,
        frequency_penalty, presence_penalty, dry_multiplier, dry_base, mirostat_tau, mirostat_eta;
    std::int64_t top_k, repeat_last_n, dry_allowed_length, dry_penalty_last_n, mirostat, min_tokens, top_logprobs;
};

// In the order of their ids.
struct Candidates {
    std::vector<double>& logit;
    std::vector<std::int32_t>& id;  // empty: all of the vocabulary

    std::int64_t size() const { return static_cast<std::int64_t>(logit.size()); }
    std::int32_t id_of(std::int64_t i) const { return id.empty() ? static_cast<std::int32_t>(i) : id[static_cast<std::size_t>(i)]; }

    // Where a token's logit is; null where it is no candidate.
    double* find(std::int32_t token) {
        if (id.empty()) return token >= 0 && token < size() ? &logit[static_cast<std::size_t>(token)] : nullptr;
        const auto at = std::lower_bound(id.begin(), id.end(), token);
        return at != id.end() && *at == token ? &logit[static_cast<std::size_t>(at - id.begin())] : nullptr;
    }

    template <class F>
    void keep(const F& wanted) {
        const bool all = id.empty();
        std::size_t to = 0;
        for (std::size_t i = 0; i < logit.size(); ++i) {
            if (!wanted(i)) continue;
            if (all) {
                id.push_back(static_cast<std::int32_t>(i));
            } else {
                id[to] = id[i];
            }
            logit[to++] = logit[i];
        }
        logit.resize(to);
        id.resize(to);
    }
};

// What candidates are ranked by: a key that rises, the lower index first among equals.
struct Ranked {
    double key;
    std::size_t index;
    bool operator<(const Ranked& other) const { return key < other.key || (key == other.key && index < other.index); }
};

// The `count` least of `n` keys, in no order but that the last is the largest. One pass keeps a few times as many.
template <class F>
std::vector<Ranked> least(std::size_t count, std::size_t n, const F& key) {
    std::vector<Ranked> best;
    const std::size_t room = 2 * count + 256;
    best.reserve(std::min(n, room));
    double bound = std::numeric_limits<double>::infinity();
    const auto cut = [&] {
        std::nth_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(count) - 1, best.end());
        best.resize(count);
    };
    for (std::size_t i = 0; i < n; ++i) {
        const double value = key(i);
        if (value >= bound && best.size() >= count) continue;  // a later one among equals is not before them
        best.push_back({value, i});
        if (best.size() < room) continue;
        cut();
        bound = best.back().key;
    }
    cut();
    return best;
}

std::vector<double> probabilities(const Candidates& c);

// Keeps the `count` largest, the lower id first among equals.
void keep_largest(Candidates& c, std::int64_t count);

void temperature(Candidates& c, const SamplerParams& p);
void top_k(Candidates& c, const SamplerParams& p);
void top_p(Candidates& c, const SamplerParams& p);
void min_p(Candidates& c, const SamplerParams& p);
void typical(Candidates& c, const SamplerParams& p);
void top_n_sigma(Candidates& c, const SamplerParams& p);
void xtc(Candidates& c, const SamplerParams& p, double chance);

// How many candidates hold mirostat's surprise at `mu`, given how likely they are.
std::int64_t mirostat_count(const Candidates& c, const std::vector<double>& probability, const SamplerParams& p, double mu);

}  // namespace heron
