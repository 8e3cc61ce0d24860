#include "quantize.h"

#include <algorithm>
#include <atomic>
#include <vector>

namespace heron {
namespace {

template <class Entry>
auto entry_for(const Entry* table, int format) -> decltype(table->encode) {
    while (table->encode && table->format != format) ++table;
    return table->encode;
}

}  // namespace

const Encoders& encoders(Isa isa) {
    switch (isa) {
#if defined(__x86_64__) || defined(_M_X64)
        case Isa::amx:
        case Isa::avx512: return ENCODERS_AVX512;
        case Isa::avx2: return ENCODERS_AVX2;
#elif defined(__aarch64__)
        case Isa::i8mm:
        case Isa::dotprod:
        case Isa::neon: return ENCODERS_NEON;
#endif
        default: return ENCODERS_PORTABLE;
    }
}

bool can_quantize(int format) { return entry_for(ENCODERS_PORTABLE.rules, format) || entry_for(ENCODERS_PORTABLE.searches, format); }

std::int64_t quantize(const Format& format, Isa isa, ThreadPool& pool, const float* values, std::int64_t rows, std::int64_t n, const float* importance,
                      std::uint8_t* out) {
    const Encoders& how = encoders(isa);
    const auto rule = entry_for(how.rules, format.id);
    const auto search = entry_for(how.searches, format.id);
    const bool by_rule = rule && (!importance || !search);
    const std::int64_t row_bytes = format.row_bytes(n);
    std::vector<std::vector<float>> weights(static_cast<std::size_t>(pool.size()));
    std::atomic<std::int64_t> bad{rows};
    pool.ranges(rows, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
        std::vector<float>& w = weights[static_cast<std::size_t>(worker)];
        w.resize(static_cast<std::size_t>(by_rule ? 0 : n));
        for (std::int64_t r = begin; r < end; ++r) {
            const float* x = values + r * n;
            std::uint8_t* to = out + r * row_bytes;
            if (format.block > 1 && !how.finite(x, n)) {
                std::int64_t first = bad.load();
                while (r < first && !bad.compare_exchange_weak(first, r)) {
                }
            } else if (by_rule) {
                for (std::int64_t i = 0; i < n; i += format.block, to += format.bytes) rule(x + i, to);
            } else {
                how.weigh(w.data(), x, importance, n);
                for (std::int64_t i = 0; i < n; i += format.block, to += format.bytes) search(x + i, w.data() + i, to);
            }
        }
    });
    return bad < rows ? bad.load() : -1;
}

}  // namespace heron
