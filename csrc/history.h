// The tokens before the one to be chosen, and what they make less likely. The definition is heron/engine/repetition.py.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "candidates.h"

namespace heron {

// Tokens, or sequences of them, that a repetition does not reach across.
class Breakers {
public:
    explicit Breakers(const std::vector<std::vector<std::int32_t>>& sequences);

    // How many of the `count` tokens stand after the last breaker that begins among them.
    std::int64_t since(const std::int32_t* tokens, std::int64_t count) const;

private:
    std::unordered_map<std::int32_t, std::vector<std::vector<std::int32_t>>> after_;  // by the first token, what follows it
};

class History {
public:
    History(const SamplerParams& params, std::shared_ptr<const Breakers> breakers);

    void accept(std::int32_t token);
    bool ends_with(const std::int32_t* tokens, std::size_t count) const;
    void penalize(Candidates& c) const;
    // Tokens that penalize() and dry() may change.
    std::vector<std::int32_t> penalized() const;
    void dry(Candidates& c) const;

private:
    bool penalizes() const { return params_.repeat_penalty != 1 || params_.frequency_penalty != 0 || params_.presence_penalty != 0; }
    // The tokens that would lengthen a repetition, and how long that is.
    std::unordered_map<std::int32_t, std::int64_t> repetitions() const;

    SamplerParams params_;
    std::shared_ptr<const Breakers> breakers_;  // null: none
    std::vector<std::int32_t> tokens_;
    std::unordered_map<std::int32_t, std::int64_t> counts_;  // of the tokens in the penalties' window
};

}  // namespace heron
