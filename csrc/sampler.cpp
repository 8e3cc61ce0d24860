#include "sampler.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace heron {

using P = SamplerParams;

struct Sampler::Step {
    const char* name;
    bool narrows;  // mirostat replaces it, and the likeliest token passes it
    bool (*idle)(const SamplerParams& p);  // it does nothing
    void (*take)(const Sampler& s, Candidates& c, std::uint64_t position);
};

const Sampler::Step Sampler::STEPS[] = {
    {"penalties", false, [](const P&) { return false; }, [](const Sampler& s, Candidates& c, std::uint64_t) { s.history_.penalize(c); }},
    {"dry", false, [](const P& p) { return p.dry_multiplier == 0; }, [](const Sampler& s, Candidates& c, std::uint64_t) { s.history_.dry(c); }},
    {"top_n_sigma", true, [](const P& p) { return p.top_n_sigma <= 0; }, [](const Sampler& s, Candidates& c, std::uint64_t) { top_n_sigma(c, s.params_); }},
    {"top_k", true, [](const P& p) { return p.top_k <= 0; }, [](const Sampler& s, Candidates& c, std::uint64_t) { top_k(c, s.params_); }},
    {"typ_p", true, [](const P& p) { return p.typical_p >= 1; }, [](const Sampler& s, Candidates& c, std::uint64_t) { typical(c, s.params_); }},
    {"top_p", true, [](const P& p) { return p.top_p >= 1; }, [](const Sampler& s, Candidates& c, std::uint64_t) { top_p(c, s.params_); }},
    {"min_p", true, [](const P& p) { return p.min_p <= 0; }, [](const Sampler& s, Candidates& c, std::uint64_t) { min_p(c, s.params_); }},
    {"xtc", true, [](const P& p) { return p.xtc_probability <= 0; },
     [](const Sampler& s, Candidates& c, std::uint64_t position) { xtc(c, s.params_, s.chance(position, 1)); }},
    {"temperature", true, [](const P&) { return false; }, [](const Sampler& s, Candidates& c, std::uint64_t) { temperature(c, s.params_); }},
};

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();

// heron/engine/random.py
double uniform(std::uint64_t seed, std::uint32_t sample, std::uint64_t position, std::uint32_t which) {
    std::uint32_t c[4] = {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), sample, which};
    std::uint32_t k[2] = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t low = 0xD2511F53ull * c[0], high = 0xCD9E8D57ull * c[2];
        const std::uint32_t next[4] = {static_cast<std::uint32_t>(high >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(high),
                                       static_cast<std::uint32_t>(low >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(low)};
        std::copy(next, next + 4, c);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return static_cast<double>((static_cast<std::uint64_t>(c[0]) << 21) ^ (c[1] >> 11)) / 9007199254740992.0;
}

// log of the sum of e^x, without its largest: to f32's precision, a block at a time.
double log_sum(const RowKernels& rows, const float* x, std::int64_t n, float top) {
    constexpr std::int64_t BLOCK = 1024;
    float block[BLOCK];
    double total = 0;
    for (std::int64_t i = 0; i < n; i += BLOCK) {
        const std::int64_t count = std::min(BLOCK, n - i);
        rows.add_scalar(block, x + i, -top, count);
        rows.activate(Activation::exp, block, block, count);
        total += rows.sum(block, count);
    }
    return std::log(total);
}

std::vector<std::pair<std::int32_t, double>> likeliest(const Peaks& row, std::int64_t count, double log_total) {
    static thread_local std::vector<std::int32_t> among;
    const bool few = row.largest_of(count, among);
    const std::size_t n = few ? among.size() : static_cast<std::size_t>(row.size());
    const auto id = [&](std::size_t i) { return few ? among[i] : static_cast<std::int32_t>(i); };
    std::vector<Ranked> best = least(std::min(static_cast<std::size_t>(count), n), n, [&](std::size_t i) { return -static_cast<double>(row.row()[id(i)]); });
    std::sort(best.begin(), best.end());
    std::vector<std::pair<std::int32_t, double>> top;
    for (const Ranked& item : best) top.emplace_back(id(item.index), -item.key - log_total);
    return top;
}

// y = x where the token's bit is set, else -infinity; four at a time, each mask of four being known.
void mask_out(float* y, const float* x, std::int64_t n, const std::vector<std::uint32_t>& words) {
    struct Four {
        std::uint32_t lane[4];
    };
    static const std::array<Four, 16> KEEP = [] {
        std::array<Four, 16> keep{};
        for (std::uint32_t bits = 0; bits < 16; ++bits) {
            for (std::uint32_t i = 0; i < 4; ++i) keep[bits].lane[i] = bits >> i & 1 ? ~0u : 0;
        }
        return keep;
    }();
    constexpr std::uint32_t NEVER = 0xFF800000u;  // -infinity
    const std::int64_t whole = n / 4 * 4;
    for (std::int64_t i = 0; i < whole; i += 4) {
        const Four& keep = KEEP[words[static_cast<std::size_t>(i) / 32] >> (i % 32) & 15];
        std::uint32_t bits[4];
        std::memcpy(bits, x + i, sizeof bits);
        for (int lane = 0; lane < 4; ++lane) bits[lane] = (bits[lane] & keep.lane[lane]) | (NEVER & ~keep.lane[lane]);
        std::memcpy(y + i, bits, sizeof bits);
    }
    for (std::int64_t i = whole; i < n; ++i) y[i] = words[static_cast<std::size_t>(i) / 32] >> (i % 32) & 1 ? x[i] : -std::numeric_limits<float>::infinity();
}

void set(std::vector<std::uint32_t>& words, std::int32_t token) { words[static_cast<std::size_t>(token) / 32] |= 1u << (token % 32); }

}  // namespace

Sampler::Sampler(const SamplerParams& params, const SamplerRules& rules, std::uint64_t seed, std::uint32_t sample, const std::vector<std::string>& steps)
    : params_(params), rules_(rules), seed_(seed), sample_(sample), greedy_(false), history_(params, rules.breakers), mu_(2 * params.mirostat_tau),
      rows_(row_kernels(chosen_isa())) {
    for (const std::string& name : steps) {
        const Step* known = std::find_if(std::begin(STEPS), std::end(STEPS), [&](const Step& s) { return name == s.name; });
        if (known == std::end(STEPS)) throw std::invalid_argument("there is no sampling step " + name);
        steps_.push_back(known);
        greedy_ |= name == "temperature" && params.temperature == 0 && params.dynatemp_range == 0;
    }
    needed_ = needed();
    for (const std::int32_t token : rules.allowed) {
        allowed_.resize(std::max(allowed_.size(), static_cast<std::size_t>(token) / 32 + 1), 0);
        set(allowed_, token);
    }
}

// As many of the largest logits decide, once tokens that are penalized or biased are counted apart; 0: any of them may.
std::int64_t Sampler::needed() const {
    if (greedy_) return 1;
    const auto first = std::find_if(steps_.begin(), steps_.end(), [&](const Step* step) { return step->narrows && !step->idle(params_); });
    return first != steps_.end() && params_.mirostat == 0 && std::string("top_k") == (*first)->name ? params_.top_k : 0;
}

Sampled Sampler::sample(const float* logits, std::int64_t n, std::uint64_t position, Mask mask) {
    // Of the thread, not of the request: there may be many requests, and a vocabulary is a megabyte.
    static thread_local Peaks row;
    static thread_local std::vector<double> work;
    static thread_local std::vector<std::int32_t> ids;
    row.read(logits, n);
    const float top = row.largest();
    if (!std::isfinite(top)) return {Chosen::not_finite, -1, 0, {}};
    Candidates c{work, ids};
    if (!gather(c, row, mask)) return {Chosen::none_allowed, -1, 0, {}};
    const std::int32_t token = choose(c, position);
    accept(token);
    ++generated_;
    const double log_total = top + log_sum(rows_, logits, n, top);
    Sampled sampled{Chosen::token, token, static_cast<double>(logits[token]) - log_total, {}};
    if (params_.top_logprobs) sampled.top = likeliest(row, params_.top_logprobs, log_total);
    return sampled;
}

std::vector<std::int32_t> Sampler::barred_now() const {
    std::vector<std::int32_t> barred = rules_.barred;
    if (generated_ < params_.min_tokens) barred.insert(barred.end(), rules_.ends.begin(), rules_.ends.end());
    for (const auto& word : rules_.bad_words) {
        if (history_.ends_with(word.data(), word.size() - 1)) barred.push_back(word.back());
    }
    return barred;
}

// Tokens whose logits penalties or biases change.
std::vector<std::int32_t> Sampler::changed() const {
    std::vector<std::int32_t> tokens = history_.penalized();
    for (const auto& [token, bias] : rules_.bias) tokens.push_back(token);
    return tokens;
}

// The tokens that may be chosen, or of them those that may be among the largest that are needed, with their biases. False where there
// is none, or none that is possible.
bool Sampler::gather(Candidates& c, const Peaks& row, Mask mask) const {
    static thread_local std::vector<std::uint32_t> words;  // of what may be chosen; empty: all
    static thread_local std::vector<float> masked;
    static thread_local Peaks among;
    const std::int64_t n = row.size();
    const std::vector<std::int32_t> barred = barred_now();
    const Peaks* left = &row;
    words.clear();
    if (mask.words || !allowed_.empty() || !barred.empty()) {
        words.assign(static_cast<std::size_t>(n + 31) / 32, mask.words ? 0u : ~0u);
        if (mask.words) std::copy(mask.words, mask.words + std::min<std::int64_t>(mask.count, static_cast<std::int64_t>(words.size())), words.begin());
        if (n % 32) words.back() &= (1u << (n % 32)) - 1;
        for (std::size_t w = 0; !allowed_.empty() && w < words.size(); ++w) words[w] &= w < allowed_.size() ? allowed_[w] : 0;
        for (const std::int32_t token : barred) {
            if (token < n) words[static_cast<std::size_t>(token) / 32] &= ~(1u << (token % 32));
        }
    }
    const auto may = [&](std::int32_t token) { return words.empty() || words[static_cast<std::size_t>(token) / 32] >> (token % 32) & 1; };
    if (needed_ && !words.empty()) {
        masked.resize(words.size() * 32);
        mask_out(masked.data(), row.row(), n, words);
        among.read(masked.data(), n);
        left = &among;
    }
    c.id.clear();
    const std::vector<std::int32_t> changed_now = needed_ ? changed() : std::vector<std::int32_t>();
    if (needed_ && left->largest_of(needed_ + static_cast<std::int64_t>(changed_now.size()), c.id)) {
        for (const std::int32_t token : changed_now) {
            if (token >= 0 && token < n && may(token)) c.id.push_back(token);
        }
        std::sort(c.id.begin(), c.id.end());
        c.id.erase(std::unique(c.id.begin(), c.id.end()), c.id.end());
    } else {
        for (std::size_t w = 0; w < words.size(); ++w) {
            for (std::uint32_t bits = words[w]; bits; bits &= bits - 1) c.id.push_back(static_cast<std::int32_t>(w * 32) + std::countr_zero(bits));
        }
        if (!words.empty() && c.id.empty()) return false;
    }
    if (c.id.empty()) {
        c.logit.assign(row.row(), row.row() + n);
    } else {
        c.logit.resize(c.id.size());
        for (std::size_t i = 0; i < c.id.size(); ++i) c.logit[i] = row.row()[c.id[i]];
    }
    for (const auto& [token, bias] : rules_.bias) {
        if (double* at = c.find(token)) *at += bias;
    }
    return std::any_of(c.logit.begin(), c.logit.end(), [](double x) { return x > -INF; });
}

std::int32_t Sampler::choose(Candidates& c, std::uint64_t position) {
    const bool free = !greedy_ && params_.mirostat == 0;
    for (const Step* step : steps_) {
        if (free || !step->narrows) step->take(*this, c, position);
    }
    if (greedy_) return c.id_of(std::max_element(c.logit.begin(), c.logit.end()) - c.logit.begin());
    return c.id_of(free ? pick(c, position) : mirostat(c, position));
}

// Numbers in [0, 1): 0 picks the token, 1 decides on XTC.
double Sampler::chance(std::uint64_t position, int which) const { return uniform(seed_, sample_, position, static_cast<std::uint32_t>(which)); }

// The first candidate whose cumulative probability passes the random number.
std::int64_t Sampler::pick(const Candidates& c, std::uint64_t position) const {
    std::vector<double> total = probabilities(c);
    for (std::size_t i = 1; i < total.size(); ++i) total[i] += total[i - 1];
    const auto at = std::upper_bound(total.begin(), total.end(), chance(position, 0) * total.back());
    return std::min<std::int64_t>(at - total.begin(), c.size() - 1);
}

std::int64_t Sampler::mirostat(Candidates& c, std::uint64_t position) {
    temperature(c, params_);
    keep_largest(c, mirostat_count(c, probabilities(c), params_, mu_));
    const std::int64_t at = pick(c, position);
    mu_ -= params_.mirostat_eta * (-std::log2(probabilities(c)[static_cast<std::size_t>(at)]) - params_.mirostat_tau);
    return at;
}

}  // namespace heron
