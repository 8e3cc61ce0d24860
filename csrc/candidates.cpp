#include "candidates.h"

#include <cmath>

namespace heron {
namespace {

constexpr std::int64_t MIROSTAT_SAMPLE = 100;
constexpr double ROUNDING = 1e-9;  // a sum of probabilities reaches a bound that it misses by less

// Keeps the candidates up to `last` in the order of `key`.
template <class F>
void keep_until(Candidates& c, const Ranked& last, const F& key) {
    c.keep([&](std::size_t i) { return !(last < Ranked{key(i), i}); });
}

double largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

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

// Surprises in nats.
std::vector<double> surprises(const std::vector<double>& probability) {
    std::vector<double> surprise(probability.size());
    for (std::size_t i = 0; i < surprise.size(); ++i) surprise[i] = -std::log(std::max(probability[i], 1e-300));
    return surprise;
}

double entropy(const std::vector<double>& probability, const std::vector<double>& surprise) {
    double total = 0;
    for (std::size_t i = 0; i < surprise.size(); ++i) total += probability[i] * surprise[i];
    return total;
}

}  // namespace

std::vector<double> probabilities(const Candidates& c) {
    const double top = largest(c.logit);
    std::vector<double> p(c.logit.size());
    double total = 0;
    for (std::size_t i = 0; i < p.size(); ++i) total += p[i] = std::exp(c.logit[i] - top);
    for (double& value : p) value /= total;
    return p;
}

void keep_largest(Candidates& c, std::int64_t count) {
    const auto falling = [&](std::size_t i) { return -c.logit[i]; };
    if (count < c.size()) keep_until(c, least(static_cast<std::size_t>(count), c.logit.size(), falling).back(), falling);
}

void temperature(Candidates& c, const SamplerParams& p) {
    double value = p.temperature;
    if (p.dynatemp_range > 0 && c.size() > 1) {
        const std::vector<double> probability = probabilities(c);
        const double share = std::min(entropy(probability, surprises(probability)) / std::log(static_cast<double>(c.size())), 1.0);
        const double low = std::max(0.0, value - p.dynatemp_range);
        value = low + (value + p.dynatemp_range - low) * std::pow(share, p.dynatemp_exponent);
    }
    if (value == 0) return keep_largest(c, 1);
    const double top = largest(c.logit);
    for (double& x : c.logit) x = (x - top) / value;
}

void top_k(Candidates& c, const SamplerParams& p) {
    if (p.top_k > 0) keep_largest(c, p.top_k);
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
    std::vector<double> distance = surprises(probability);
    const double expected = entropy(probability, distance);
    std::vector<Ranked> items(distance.size());
    for (std::size_t i = 0; i < distance.size(); ++i) items[i] = {distance[i] = std::abs(distance[i] - expected), i};
    keep_until(c, reaching(items, probability, p.typical_p), [&](std::size_t i) { return distance[i]; });
}

void top_n_sigma(Candidates& c, const SamplerParams& p) {
    if (p.top_n_sigma <= 0) return;
    double sum = 0, squares = 0, count = 0;
    for (const double x : c.logit) {
        if (std::isfinite(x)) sum += x, ++count;
    }
    const double mean = sum / count;
    for (const double x : c.logit) {
        if (std::isfinite(x)) squares += (x - mean) * (x - mean);
    }
    const double bound = largest(c.logit) - p.top_n_sigma * std::sqrt(squares / count) * (1 + ROUNDING);
    c.keep([&](std::size_t i) { return c.logit[i] >= bound; });
}

void xtc(Candidates& c, const SamplerParams& p, double chance) {
    if (p.xtc_threshold > 0.5 || chance >= p.xtc_probability) return;
    const std::vector<double> probability = probabilities(c);
    bool any = false;
    Ranked last{0, 0};  // the least likely of those above the threshold
    for (std::size_t i = 0; i < probability.size(); ++i) {
        const Ranked item{-c.logit[i], i};
        const bool passes = probability[i] > 0 && probability[i] >= p.xtc_threshold * (1 - ROUNDING);
        if (passes && (!any || last < item)) any = true, last = item;
    }
    if (any) c.keep([&](std::size_t i) { return !(Ranked{-c.logit[i], i} < last); });
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

std::int64_t mirostat_count(const Candidates& c, const std::vector<double>& probability, const SamplerParams& p, double mu) {
    if (p.mirostat == 1) {
        std::vector<Ranked> best =
            least(static_cast<std::size_t>(std::min(MIROSTAT_SAMPLE, c.size())), c.logit.size(), [&](std::size_t i) { return -c.logit[i]; });
        std::sort(best.begin(), best.end());
        std::vector<double> likeliest;
        for (const Ranked& item : best) likeliest.push_back(probability[item.index]);
        return zipf_count(likeliest, c.size(), mu);
    }
    const auto count = std::count_if(probability.begin(), probability.end(), [&](double q) { return -std::log2(std::max(q, 1e-300)) <= mu; });
    return std::max<std::int64_t>(count, 1);
}

}  // namespace heron
