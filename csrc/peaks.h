// A row of logits and the largest of each block of them, by which the largest are found without looking at the others again.
#pragma once

#include <cstdint>
#include <vector>

namespace heron {

class Peaks {
public:
    // Looks at `n` logits, which are kept by the caller.
    void read(const float* logits, std::int64_t n);

    const float* row() const { return row_; }
    std::int64_t size() const { return n_; }
    // The largest; infinity where one is NaN or infinite, -infinity where none is finite.
    float largest() const { return largest_; }

    // All tokens as large as the `count`-th largest, and perhaps some more, in their order. False, and nothing, where most would be.
    bool largest_of(std::int64_t count, std::vector<std::int32_t>& found) const;

private:
    const float* row_ = nullptr;
    std::int64_t n_ = 0;
    float largest_ = 0;
    std::vector<float> peaks_;
};

}  // namespace heron
