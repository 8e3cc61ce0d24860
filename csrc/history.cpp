#include "history.h"

#include <cfloat>
#include <cmath>

namespace heron {

Breakers::Breakers(const std::vector<std::vector<std::int32_t>>& sequences) {
    for (const auto& sequence : sequences) {
        if (!sequence.empty()) after_[sequence.front()].emplace_back(sequence.begin() + 1, sequence.end());
    }
}

std::int64_t Breakers::since(const std::int32_t* tokens, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i) {  // i tokens stand after the one that is looked at
        const std::int32_t* head = tokens + count - 1 - i;
        const auto known = after_.find(*head);
        if (known == after_.end()) continue;
        std::int64_t longest = -1;
        for (const auto& tail : known->second) {
            const auto length = static_cast<std::int64_t>(tail.size());
            if (length > longest && length <= i && std::equal(tail.begin(), tail.end(), head + 1)) longest = length;
        }
        if (longest >= 0) return i - longest;
    }
    return count;
}

History::History(const SamplerParams& params, std::shared_ptr<const Breakers> breakers) : params_(params), breakers_(std::move(breakers)) {}

void History::accept(std::int32_t token) {
    tokens_.push_back(token);
    ++counts_[token];
    const std::int64_t window = params_.repeat_last_n, length = static_cast<std::int64_t>(tokens_.size());
    if (window < 0 || length <= window) return;
    const auto oldest = counts_.find(tokens_[static_cast<std::size_t>(length - window - 1)]);
    if (--oldest->second == 0) counts_.erase(oldest);
}

bool History::ends_with(const std::int32_t* tokens, std::size_t count) const {
    return count <= tokens_.size() && std::equal(tokens, tokens + count, tokens_.end() - static_cast<std::ptrdiff_t>(count));
}

void History::penalize(Candidates& c) const {
    const SamplerParams& p = params_;
    if (!penalizes()) return;
    for (const auto& [token, count] : counts_) {
        double* at = c.find(token);
        if (!at) continue;
        const double x = *at > 0 ? *at / p.repeat_penalty : *at * p.repeat_penalty;
        *at = x - static_cast<double>(count) * p.frequency_penalty - p.presence_penalty;
    }
}

// Of each place, how many tokens before it are those at the end, by the Z algorithm from the end (Gusfield 1997, 1.4).
static std::vector<std::int64_t> repeated(const std::int32_t* tokens, std::int64_t n) {
    const auto back = [&](std::int64_t i) { return tokens[n - 1 - i]; };
    std::vector<std::int64_t> z(static_cast<std::size_t>(n), 0);
    std::int64_t left = 0, right = 0;
    for (std::int64_t i = 1; i < n; ++i) {
        std::int64_t& length = z[static_cast<std::size_t>(i)];
        if (i < right) length = std::min(right - i, z[static_cast<std::size_t>(i - left)]);
        while (i + length < n && back(length) == back(i + length)) ++length;
        if (i + length > right) left = i, right = i + length;
    }
    return z;
}

std::unordered_map<std::int32_t, std::int64_t> History::repetitions() const {
    const SamplerParams& p = params_;
    std::unordered_map<std::int32_t, std::int64_t> longest;
    if (p.dry_multiplier == 0 || p.dry_base < 1 || p.dry_penalty_last_n == 0) return longest;
    auto n = static_cast<std::int64_t>(tokens_.size());
    if (p.dry_penalty_last_n > 0) n = std::min(n, p.dry_penalty_last_n);
    if (n <= p.dry_allowed_length) return longest;
    const std::int32_t* recent = tokens_.data() + tokens_.size() - n;
    const std::int64_t limit = breakers_ ? breakers_->since(recent, n) : n;
    if (limit < p.dry_allowed_length) return longest;
    const std::vector<std::int64_t> z = repeated(recent, n);
    for (std::int64_t i = 1; i < n; ++i) {
        const std::int64_t length = std::min(z[static_cast<std::size_t>(i)], limit);
        if (length < p.dry_allowed_length) continue;
        std::int64_t& most = longest[recent[n - i]];  // what came after it, would come again
        most = std::max(most, length);
    }
    return longest;
}

void History::dry(Candidates& c) const {
    const SamplerParams& p = params_;
    const double most = p.dry_base > 1.000001 ? std::floor(std::log(static_cast<double>(FLT_MAX)) / std::log(p.dry_base)) : 1e18;
    for (const auto& [token, length] : repetitions()) {
        if (double* at = c.find(token)) *at -= p.dry_multiplier * std::pow(p.dry_base, std::min(static_cast<double>(length - p.dry_allowed_length), most));
    }
}

std::vector<std::int32_t> History::penalized() const {
    std::vector<std::int32_t> tokens;
    if (penalizes()) {
        for (const auto& [token, count] : counts_) tokens.push_back(token);
    }
    for (const auto& [token, length] : repetitions()) tokens.push_back(token);
    return tokens;
}

}  // namespace heron
