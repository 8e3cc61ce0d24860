#include "peaks.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace heron {
namespace {

constexpr std::int64_t BLOCK = 64;
constexpr int LANES = 16;
constexpr float MOST = std::numeric_limits<float>::infinity();

}  // namespace

void Peaks::read(const float* logits, std::int64_t n) {
    row_ = logits, n_ = n, largest_ = -MOST;
    peaks_.resize(static_cast<std::size_t>((n + BLOCK - 1) / BLOCK));
    bool bad = false;
    for (std::size_t block = 0; block < peaks_.size(); ++block) {
        const float* x = logits + static_cast<std::int64_t>(block) * BLOCK;
        const std::int64_t count = std::min(BLOCK, n - static_cast<std::int64_t>(block) * BLOCK);
        float top[LANES];
        std::fill(top, top + LANES, -MOST);
        std::int64_t i = 0;
        for (; i + LANES <= count; i += LANES) {
            for (int lane = 0; lane < LANES; ++lane) {
                top[lane] = x[i + lane] > top[lane] ? x[i + lane] : top[lane];
                bad |= !(x[i + lane] < MOST);
            }
        }
        for (; i < count; ++i) {
            top[0] = std::max(top[0], x[i]);
            bad |= !(x[i] < MOST);
        }
        peaks_[block] = *std::max_element(top, top + LANES);
        largest_ = std::max(largest_, peaks_[block]);
    }
    if (bad) largest_ = MOST;
}

bool Peaks::largest_of(std::int64_t count, std::vector<std::int32_t>& found) const {
    found.clear();
    if (count < 1 || count > static_cast<std::int64_t>(peaks_.size()) / 4) return false;
    static thread_local std::vector<float> peaks;
    peaks = peaks_;
    std::nth_element(peaks.begin(), peaks.begin() + (count - 1), peaks.end(), std::greater<float>());
    const float bound = peaks[static_cast<std::size_t>(count - 1)];  // so many blocks hold one as large, so there are so many
    if (bound == -MOST) return false;
    for (std::size_t block = 0; block < peaks_.size(); ++block) {
        if (peaks_[block] < bound) continue;
        const std::int64_t first = static_cast<std::int64_t>(block) * BLOCK;
        for (std::int64_t i = first; i < std::min(n_, first + BLOCK); ++i) {
            if (row_[i] >= bound) found.push_back(static_cast<std::int32_t>(i));
        }
    }
    return true;
}

}  // namespace heron
