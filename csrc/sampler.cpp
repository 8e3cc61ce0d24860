#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace heron {

// Tokens still in play, in the order of their ids.
struct Candidates {
    std::vector<double>& logit;
    std::vector<std::int32_t>& id;  // empty: all of the vocabulary

    std::int64_t size() const { return static_cast<std::int64_t>(logit.size()); }
    std::int32_t id_of(std::int64_t i) const { return id.empty() ? static_cast<std::int32_t>(i) : id[static_cast<std::size_t>(i)]; }

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

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();
constexpr std::int64_t MIROSTAT_SAMPLE = 100;
constexpr double ROUNDING = 1e-9;  // a sum of probabilities reaches a bound that it misses by less

// What candidates are ranked by: a key that rises, the lower index first among equals.
struct Ranked {
    double key;
    std::size_t index;
    bool operator<(const Ranked& other) const { return key < other.key || (key == other.key && index < other.index); }
};

// Keeps the candidates up to `last` in the order of `key`.
template <class F>
void keep_until(Candidates& c, const Ranked& last, const F& key) {
    c.keep([&](std::size_t i) { return !(last < Ranked{key(i), i}); });
}

double largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

std::vector<double> probabilities(const Candidates& c) {
    const double top = largest(c.logit);
    std::vector<double> p(c.logit.size());
    double total = 0;
    for (std::size_t i = 0; i < p.size(); ++i) total += p[i] = std::exp(c.logit[i] - top);
    for (double& value : p) value /= total;
    return p;
}

void temperature(Candidates& c, const SamplerParams& p) {
    const double top = largest(c.logit);
    for (double& x : c.logit) x = (x - top) / p.temperature;
}

// The `count` least of what keys there are, in no order but that the last is the largest. One pass keeps a few times as many.
template <class F>
std::vector<Ranked> least(std::size_t count, std::size_t n, const F& key) {
    std::vector<Ranked> best;
    const std::size_t room = 2 * count + 256;
    best.reserve(std::min(n, room));
    double bound = INF;
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

void top_k(Candidates& c, const SamplerParams& p) {
    if (p.top_k <= 0 || p.top_k >= c.size()) return;
    const auto falling = [&](std::size_t i) { return -c.logit[i]; };
    keep_until(c, least(static_cast<std::size_t>(p.top_k), c.logit.size(), falling).back(), falling);
}

// The first of `items`, in their order, at which the probabilities so far reach `mass`; or the last. Halves that are
// surely before or after it are never put in order.
Ranked reaching(std::vector<Ranked>& items, const std::vector<double>& probability, double mass) {
    constexpr std::ptrdiff_t FEW = 64;
    auto begin = items.begin(), end = items.end();
    double before = ROUNDING;
    while (end - begin > FEW) {
        const auto middle = begin + (end - begin) / 2;
        std::nth_element(begin, middle, end);
        double sum = 0;
        for (auto i = begin; i != middle; ++i) sum += probability[i->index];
        if (before + sum >= mass) {
            end = middle;
        } else {
            before += sum;
            begin = middle;
        }
    }
    std::sort(begin, end);
    for (auto i = begin; i != end; ++i) {
        before += probability[i->index];
        if (before >= mass) return *i;
    }
    return *(end - 1);
}

void top_p(Candidates& c, const SamplerParams& p) {
    if (p.top_p >= 1) return;
    const std::vector<double> probability = probabilities(c);
    // All that are rarer than this hold less than what may be left out.
    const double rare = (1 - p.top_p) / static_cast<double>(c.size()) * (1 - 1e-9);
    std::vector<Ranked> items;
    for (std::size_t i = 0; i < probability.size(); ++i) {
        if (probability[i] >= rare) items.push_back({-c.logit[i], i});
    }
    keep_until(c, reaching(items, probability, p.top_p), [&](std::size_t i) { return -c.logit[i]; });
}

void min_p(Candidates& c, const SamplerParams& p) {
    if (p.min_p <= 0) return;
    const double bound = largest(c.logit) + std::log(p.min_p);
    c.keep([&](std::size_t i) { return c.logit[i] >= bound; });
}

void typical(Candidates& c, const SamplerParams& p) {
    if (p.typical_p >= 1) return;
    const std::vector<double> probability = probabilities(c);
    std::vector<double> distance(probability.size());
    double entropy = 0;
    for (std::size_t i = 0; i < distance.size(); ++i) {
        distance[i] = -std::log(std::max(probability[i], 1e-300));
        entropy += probability[i] * distance[i];
    }
    std::vector<Ranked> items(distance.size());
    for (std::size_t i = 0; i < distance.size(); ++i) items[i] = {distance[i] = std::abs(distance[i] - entropy), i};
    keep_until(c, reaching(items, probability, p.typical_p), [&](std::size_t i) { return distance[i]; });
}

const struct {
    const char* name;
    void (*step)(Candidates&, const SamplerParams&);
} STEPS[] = {{"temperature", temperature}, {"top_k", top_k}, {"top_p", top_p}, {"min_p", min_p}, {"typical", typical}};

// heron/engine/random.py
double uniform(std::uint64_t seed, std::uint32_t sample, std::uint64_t position) {
    std::uint32_t c[4] = {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), sample, 0};
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

float checked_largest(const float* x, std::int64_t n) {
    constexpr int LANES = 16;
    constexpr float MOST = std::numeric_limits<float>::infinity();
    float top[LANES];
    bool bad = false;
    std::fill(top, top + LANES, -MOST);
    std::int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int lane = 0; lane < LANES; ++lane) {
            top[lane] = x[i + lane] > top[lane] ? x[i + lane] : top[lane];
            bad |= !(x[i + lane] < MOST);
        }
    }
    for (; i < n; ++i) {
        top[0] = std::max(top[0], x[i]);
        bad |= !(x[i] < MOST);
    }
    const float most = *std::max_element(top, top + LANES);
    if (bad || most == -MOST) throw std::domain_error("no finite logit, or one that is not a number");
    return most;
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

}  // namespace

Sampler::Sampler(const SamplerParams& params, std::uint64_t seed, std::uint32_t sample, const std::vector<std::string>& steps)
    : params_(params), seed_(seed), sample_(sample), mu_(2 * params.mirostat_tau), rows_(row_kernels(chosen_isa())) {
    for (const std::string& name : steps) {
        const auto* known = std::find_if(std::begin(STEPS), std::end(STEPS), [&](const auto& s) { return name == s.name; });
        if (known == std::end(STEPS)) throw std::invalid_argument("there is no sampling step " + name);
        steps_.push_back(known->step);
    }
}

void Sampler::accept(std::int32_t token) {
    history_.push_back(token);
    ++counts_[token];
    const std::int64_t window = params_.repeat_last_n, length = static_cast<std::int64_t>(history_.size());
    if (window < 0 || length <= window) return;
    const auto oldest = counts_.find(history_[static_cast<std::size_t>(length - window - 1)]);
    if (--oldest->second == 0) counts_.erase(oldest);
}

Sampled Sampler::sample(const float* logits, std::int64_t n, std::uint64_t position) {
    const float top = checked_largest(logits, n);
    const std::int32_t token = choose(logits, n, position);
    accept(token);
    return {token, static_cast<double>(logits[token]) - top - log_sum(rows_, logits, n, top)};
}

void Sampler::penalize(std::vector<double>& logits) const {
    const SamplerParams& p = params_;
    if (p.repeat_penalty == 1 && p.frequency_penalty == 0 && p.presence_penalty == 0) return;
    for (const auto& [token, count] : counts_) {
        if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) continue;
        double& x = logits[static_cast<std::size_t>(token)];
        x = x > 0 ? x / p.repeat_penalty : x * p.repeat_penalty;
        x = x - static_cast<double>(count) * p.frequency_penalty - p.presence_penalty;
    }
}

std::int32_t Sampler::choose(const float* logits, std::int64_t n, std::uint64_t position) {
    // Of the thread, not of the request: there may be many requests, and a vocabulary is a megabyte.
    static thread_local std::vector<double> work;
    static thread_local std::vector<std::int32_t> ids;
    work.assign(logits, logits + n);
    ids.clear();
    Candidates c{work, ids};
    penalize(work);
    if (params_.temperature == 0) return static_cast<std::int32_t>(std::max_element(work.begin(), work.end()) - work.begin());
    if (params_.mirostat) return c.id_of(mirostat(c, position));
    for (const Step step : steps_) step(c, params_);
    return c.id_of(pick(c, position));
}

// The first candidate whose cumulative probability passes the random number.
std::int64_t Sampler::pick(const Candidates& c, std::uint64_t position) const {
    std::vector<double> total = probabilities(c);
    for (std::size_t i = 1; i < total.size(); ++i) total[i] += total[i - 1];
    const auto at = std::upper_bound(total.begin(), total.end(), uniform(seed_, sample_, position) * total.back());
    return std::min<std::int64_t>(at - total.begin(), c.size() - 1);
}

// How many tokens hold the surprise at mu, were the probabilities Zipf's with the exponent that the likeliest show.
static std::int64_t zipf_count(const std::vector<double>& likeliest, std::int64_t n, double mu) {
    const std::size_t m = likeliest.size();
    if (m < 2) return 1;
    double tb = 0, tt = 0;
    for (std::size_t i = 1; i < m; ++i) {
        const double t = std::log(static_cast<double>(i + 1) / static_cast<double>(i));
        tb += t * std::log(std::max(likeliest[i - 1], 1e-300) / std::max(likeliest[i], 1e-300));
        tt += t * t;
    }
    const double exponent = tb / tt, epsilon = exponent - 1;
    if (std::abs(epsilon) < 1e-9 || exponent == 0) return n;
    const double k = std::pow(epsilon * std::exp2(mu) / (1 - std::pow(static_cast<double>(n), -epsilon)), 1 / exponent);
    return std::isfinite(k) ? static_cast<std::int64_t>(std::clamp(std::nearbyint(k), 1.0, static_cast<double>(n))) : n;
}

std::int64_t Sampler::mirostat(Candidates& c, std::uint64_t position) {
    temperature(c, params_);
    const std::vector<double> probability = probabilities(c);
    const auto falling = [&](std::size_t i) { return -c.logit[i]; };
    std::int64_t count;
    if (params_.mirostat == 1) {
        std::vector<Ranked> best = least(static_cast<std::size_t>(std::min(MIROSTAT_SAMPLE, c.size())), c.logit.size(), falling);
        std::sort(best.begin(), best.end());
        std::vector<double> likeliest;
        for (const Ranked& item : best) likeliest.push_back(probability[item.index]);
        count = zipf_count(likeliest, c.size(), mu_);
    } else {
        count = std::count_if(probability.begin(), probability.end(), [&](double p) { return -std::log2(std::max(p, 1e-300)) <= mu_; });
        count = std::max<std::int64_t>(count, 1);
    }
    if (count < c.size()) keep_until(c, least(static_cast<std::size_t>(count), c.logit.size(), falling).back(), falling);
    const std::int64_t at = pick(c, position);
    mu_ -= params_.mirostat_eta * (-std::log2(probabilities(c)[static_cast<std::size_t>(at)]) - params_.mirostat_tau);
    return at;
}

}  // namespace heron
