// Checks the kernels of every instruction set that runs here, without Python: on an emulator too (tests/backends/test_aarch64.py).
//
// Products of every format in odd shapes are held to float64 products of decoded weights; kernels on rows to the portable
// ones. Prints what runs here, then what is wrong, and returns how much that is.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/format.h"
#include "../../csrc/isa.h"
#include "../../csrc/layout.h"
#include "../../csrc/platform.h"
#include "../../csrc/quantize.h"
#include "../../csrc/rows.h"

using namespace heron;

namespace {

using Bytes = std::vector<std::uint8_t>;
using Floats = std::vector<float>;

std::mt19937 generator(1);
int wrong = 0;

void expect(bool right, const std::string& what) {
    if (right) return;
    std::printf("wrong: %s\n", what.c_str());
    ++wrong;
}

Floats random_floats(std::size_t n) {
    std::normal_distribution<float> normal;
    Floats x(n);
    for (float& value : x) value = normal(generator);
    return x;
}

bool same_bits(const float* a, const float* b, std::size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

// ---- products ----

// A block of any bits that stands for numbers of usual sizes.
void random_block(const Format& format, std::uint8_t* block) {
    Floats values(static_cast<std::size_t>(format.block));
    do {
        for (int i = 0; i < format.bytes; ++i) block[i] = static_cast<std::uint8_t>(generator());
        format.decode(block, values.data());
    } while (!std::all_of(values.begin(), values.end(), [](float v) { return std::abs(v) < 1e4f; }));
}

struct Weights {
    std::int64_t rows, k;
    Bytes raw;
    Floats values;

    Weights(const Format& format, std::int64_t rows, std::int64_t k) : rows(rows), k(k), raw(static_cast<std::size_t>(rows * format.row_bytes(k))), values(static_cast<std::size_t>(rows * k)) {
        for (std::int64_t b = 0; b < rows * k / format.block; ++b) {
            random_block(format, raw.data() + b * format.bytes);
            format.decode(raw.data() + b * format.bytes, values.data() + b * format.block);
        }
    }
};

// What int8 activations stand for: 32 neighbours share a scale, the largest of them divided by 127.
Floats rounded(const Floats& x) {
    Floats to(x.size());
    for (std::size_t group = 0; group < x.size(); group += 32) {
        float most = 0;
        for (std::size_t i = group; i < group + 32; ++i) most = std::max(most, std::abs(x[i]));
        for (std::size_t i = group; i < group + 32 && most > 0; ++i) to[i] = std::nearbyint(x[i] * (127 / most)) * (most / 127);
    }
    return to;
}

// x [tokens, k] times the matrix, in two pieces of panels and one tile after another, as threads would.
Floats product(const PackedMatrix& matrix, Mode mode, const float* x, std::int64_t tokens) {
    const Isa isa = matrix.layout->isa;
    const ActivationKind kind = matrix.layout->kind(mode);
    Pages prepared(activation_bytes(kind, matrix.k) * tokens);
    for (std::int64_t tile = tile_count(kind, isa, tokens); tile-- > 0;) prepare(kind, isa, x, matrix.k, tokens, matrix.k, tile, tile + 1, prepared.data());
    Floats out(static_cast<std::size_t>(tokens * matrix.rows));
    const std::int64_t half = matrix.panels() / 2 / PANELS_TOGETHER * PANELS_TOGETHER;
    dot(matrix, half, matrix.panels(), {kind, tokens, prepared.data()}, out.data(), matrix.rows);
    dot(matrix, 0, half, {kind, tokens, prepared.data()}, out.data(), matrix.rows);
    return out;
}

// The largest difference from products in float64, in proportion to the lengths of the vectors multiplied.
double error(const Floats& got, const Floats& x, const Weights& w) {
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const float *a = x.data() + static_cast<std::int64_t>(i) / w.rows * w.k, *b = w.values.data() + static_cast<std::int64_t>(i) % w.rows * w.k;
        double exact = 0, aa = 0, bb = 0;
        for (std::int64_t j = 0; j < w.k; ++j) exact += double(a[j]) * b[j], aa += double(a[j]) * a[j], bb += double(b[j]) * b[j];
        const double difference = std::abs(got[i] - exact) / std::max(std::sqrt(aa * bb), 1e-30);
        worst = std::max(worst, std::isnan(difference) ? INFINITY : difference);
    }
    return worst;
}

void check_products(const Format& format, Isa isa, std::int64_t rows, std::int64_t k) {
    const std::string where = std::string(format.name) + " " + name_of(isa) + " " + std::to_string(rows) + " x " + std::to_string(k);
    const Weights w(format, rows, k);
    const Layout& layout = *find_layout(format.id, isa);
    Pages memory(layout.bytes(rows, k));
    pack(layout, k, w.raw.data(), format.row_bytes(k), rows, memory.data());
    const PackedMatrix matrix{&layout, rows, k, memory.data()};

    std::vector<std::int32_t> index(static_cast<std::size_t>(rows));
    for (std::int32_t i = 0; i < rows; ++i) index[static_cast<std::size_t>(i)] = i;
    Floats unpacked(w.values.size());
    unpack_rows(matrix, index.data(), rows, unpacked.data(), k);
    expect(same_bits(unpacked.data(), w.values.data(), unpacked.size()), where + ": unpacked rows");

    constexpr std::int64_t MOST = 21;
    const Floats x = random_floats(static_cast<std::size_t>(MOST * k));
    for (const Mode mode : {Mode::int8, Mode::f32}) {
        const std::string how = where + (mode == Mode::int8 ? ", int8" : ", f32");
        const Floats together = product(matrix, mode, x.data(), MOST);
        const double off = error(together, layout.kind(mode).q8 ? rounded(x) : x, w);
        expect(off <= (layout.kind(mode).pairs ? 0x1p-15 : 1e-5), how + ": error " + std::to_string(off));
        if (isa == Isa::i8mm) {
            const PackedMatrix alike{find_layout(format.id, Isa::dotprod), rows, k, memory.data()};
            expect(same_bits(product(alike, mode, x.data(), MOST).data(), together.data(), together.size()), how + ": other bits than dotprod's");
        }
        for (const std::int64_t tokens : {1, 2, 3, 4, 5, 7}) {
            const Floats few = product(matrix, mode, x.data(), tokens);
            expect(same_bits(few.data(), together.data(), few.size()), how + ": other bits for " + std::to_string(tokens) + " tokens");
        }
    }
}

// ---- rows ----

// Runs one kernel of both tables, and compares what they made to the accuracy of f32.
void compare(const std::string& what, const RowKernels& own, const std::function<Floats(const RowKernels&)>& run) {
    const Floats got = run(own), meant = run(ROWS_PORTABLE);
    float most = 1;
    for (const float value : meant) most = std::max(most, std::isinf(value) ? 0 : std::abs(value));
    bool right = got.size() == meant.size();
    for (std::size_t i = 0; i < meant.size(); ++i) right = right && (got[i] == meant[i] || std::abs(got[i] - meant[i]) <= 2e-6f * most);
    expect(right, what);
}

void check_rows(Isa isa, std::int64_t n) {
    const RowKernels& own = row_kernels(isa);
    const std::string where = std::string(name_of(isa)) + " rows of " + std::to_string(n) + ": ";
    const auto size = static_cast<std::size_t>(n);
    const Floats x = random_floats(size), b = random_floats(size), c = random_floats(size), many = random_floats(5 * size);
    const auto made = [&](const std::string& name, const std::function<void(const RowKernels&, float*)>& body) {
        compare(where + name, own, [&](const RowKernels& kernels) {
            Floats y(size);
            body(kernels, y.data());
            return y;
        });
    };
    made("rms_norm", [&](const RowKernels& k, float* y) { k.rms_norm(y, x.data(), b.data(), n, 1e-5f); });
    made("layer_norm", [&](const RowKernels& k, float* y) { k.layer_norm(y, x.data(), b.data(), c.data(), n, 1e-5f); });
    made("add", [&](const RowKernels& k, float* y) { k.add(y, x.data(), b.data(), n); });
    made("mul", [&](const RowKernels& k, float* y) { k.mul(y, x.data(), b.data(), n); });
    made("add_scalar", [&](const RowKernels& k, float* y) { k.add_scalar(y, x.data(), 0.7f, n); });
    made("mul_scalar", [&](const RowKernels& k, float* y) { k.mul_scalar(y, x.data(), 0.7f, n); });
    made("softmax", [&](const RowKernels& k, float* y) { k.softmax(y, x.data(), n); });
    made("sum", [&](const RowKernels& k, float* y) { y[0] = k.sum(x.data(), n); });
    made("dot", [&](const RowKernels& k, float* y) { y[0] = k.dot(x.data(), b.data(), n); });
    made("weighted_sum", [&](const RowKernels& k, float* y) { k.weighted_sum(y, many.data(), n, b.data(), static_cast<int>(std::min<std::int64_t>(n, 5)), n); });
    made("rope_half", [&](const RowKernels& k, float* y) { k.rope_half(y, x.data(), b.data(), c.data(), n / 2, n); });
    made("rope_adjacent", [&](const RowKernels& k, float* y) { k.rope_adjacent(y, x.data(), b.data(), c.data(), n / 2, n); });
    made("glu", [&](const RowKernels& k, float* y) { k.glu({Activation::silu, 0.5f, 1.0f}, y, x.data(), b.data(), n); });
    for (std::size_t kind = 0; kind < std::size(ACTIVATIONS); ++kind) {
        made(ACTIVATIONS[kind], [&](const RowKernels& k, float* y) { k.activate(static_cast<Activation>(kind), y, x.data(), n); });
    }
    made("convolve", [&](const RowKernels& k, float* y) {
        const float* const rows[] = {x.data(), b.data(), c.data()};
        k.convolve(y, rows, many.data(), x.data(), 3, n);
    });
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        Floats spoiled = x;
        spoiled[size / 2] = bad;
        expect(own.finite(x.data(), n) && !own.finite(spoiled.data(), n), where + "finite");
    }
}

std::size_t stored_bytes(Storage storage, std::size_t n) { return storage == Storage::f32 ? 4 * n : storage == Storage::f16 ? 2 * n : n / Q8_BLOCK * Q8_BYTES; }

// Keys and values of one chunk, as they are stored, and queries that look at some of them.
void check_attention(Isa isa, Storage storage, int keys, int dim) {
    constexpr int QUERIES = 7;
    const RowKernels& own = row_kernels(isa);
    const std::string where = std::string(name_of(isa)) + " attention, " + std::to_string(keys) + " keys of " + std::to_string(dim) + ": ";
    const auto d = static_cast<std::size_t>(dim), n = static_cast<std::size_t>(keys);
    const Floats x = random_floats(n * d), q = random_floats(QUERIES * d);
    std::vector<Bytes> stored(n, Bytes(stored_bytes(storage, d)));
    std::vector<const void*> rows;
    for (std::size_t i = 0; i < n; ++i) {
        own.encode(storage, stored[i].data(), x.data() + i * d, dim);
        Bytes meant(stored[i].size());
        ROWS_PORTABLE.encode(storage, meant.data(), x.data() + i * d, dim);
        expect(stored[i] == meant, where + "encode");
        rows.push_back(stored[i].data());
    }
    const auto chunk = [&](const RowKernels& k, bool transposed) {
        Floats to(transposed ? d * CHUNK : n * d);
        (transposed ? k.load_keys : k.load_values)(storage, to.data(), rows.data(), keys, dim);
        for (std::size_t i = 0; transposed && i < to.size(); ++i) {
            if (i % CHUNK >= n) to[i] = 0;  // undefined
        }
        return to;
    };
    const Floats loaded = chunk(own, true), values = chunk(own, false);
    expect(loaded == chunk(ROWS_PORTABLE, true), where + "load_keys");
    expect(values == chunk(ROWS_PORTABLE, false), where + "load_values");
    compare(where + "attend", own, [&](const RowKernels& k) {
        Floats score(QUERIES * CHUNK), acc(QUERIES * d), more(d, 0.5f);
        int low[QUERIES], high[QUERIES];
        k.scores(score.data(), CHUNK, q.data(), QUERIES, loaded.data(), keys, dim, 0.3f, keys % 2 ? 5.0f : 0.0f);
        Floats results;
        for (int i = 0; i < QUERIES; ++i) {
            low[i] = std::min(i % 3, keys - 1), high[i] = std::max(low[i], keys - i % 2);
            float largest, total;
            k.exponentiate(score.data() + i * CHUNK, low[i], high[i], keys, &largest, &total);
            results.insert(results.end(), {largest, total});
        }
        k.accumulate(acc.data(), score.data(), CHUNK, QUERIES, values.data(), keys, dim, low, high, 0);
        k.merge(&results[0], &results[1], acc.data(), 0.25f, 2.0f, more.data(), dim);
        results.insert(results.end(), acc.begin(), acc.end());
        return results;
    });
}

void check_recurrences(Isa isa, std::int64_t n) {
    constexpr std::int64_t HEADS = 2, CHANNELS = 3, TOKENS = 3;
    const std::string where = std::string(name_of(isa)) + " states of " + std::to_string(n) + ": ";
    const auto size = static_cast<std::size_t>(n);
    const Floats x = random_floats(TOKENS * HEADS * CHANNELS), step(TOKENS * HEADS, 0.4f), write = random_floats(TOKENS * size), read = random_floats(TOKENS * size);
    const Floats first = random_floats(HEADS * CHANNELS * size), square = random_floats(size * size);
    for (const std::int64_t rates : {std::int64_t{1}, n}) {
        const Floats rate(static_cast<std::size_t>(HEADS * rates), -0.8f);
        compare(where + "selective_scan", row_kernels(isa), [&](const RowKernels& k) {
            Floats y(x.size()), state = first;
            k.selective_scan({y.data(), x.data(), step.data(), rate.data(), write.data(), read.data(), HEADS * CHANNELS, HEADS, n, HEADS, CHANNELS, n, rates}, state.data(), TOKENS);
            y.insert(y.end(), state.begin(), state.end());
            return y;
        });
    }
    compare(where + "delta_rule", row_kernels(isa), [&](const RowKernels& k) {
        Floats y(size), state = square;
        k.delta_rule(y.data(), state.data(), write.data(), read.data(), first.data(), -0.3f, 0.7f, n, n);
        y.insert(y.end(), state.begin(), state.end());
        return y;
    });
}

// ---- quantizers ----

// What is lost of rows that end where their array does, against what the portable searches lose; and that row 1 is found to be damaged.
void check_quantizer(const Format& format, Isa isa, std::int64_t n) {
    constexpr std::int64_t ROWS = 3;
    const std::string where = std::string(format.name) + " from f32, " + name_of(isa) + ", " + std::to_string(n);
    Floats x = random_floats(static_cast<std::size_t>(ROWS * n)), importance = random_floats(static_cast<std::size_t>(n));
    for (float& value : importance) value *= value;
    std::fill(x.begin(), x.begin() + format.block, 0.0f);
    ThreadPool pool(2);
    const auto lost = [&](Isa by, const float* counts) {
        Bytes raw(static_cast<std::size_t>(ROWS * format.row_bytes(n)));
        expect(quantize(format, by, pool, x.data(), ROWS, n, counts, raw.data()) < 0, where + ": refused");
        Floats to(static_cast<std::size_t>(format.block));
        double sum = 0;
        for (std::int64_t i = 0; i < ROWS * n; ++i) {
            if (i % format.block == 0) format.decode(raw.data() + i / format.block * format.bytes, to.data());
            const double off = to[static_cast<std::size_t>(i % format.block)] - x[static_cast<std::size_t>(i)];
            sum += off * off * (counts ? counts[i % n] : 1);
        }
        return sum;
    };
    for (const float* counts : {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data())}) {
        const double own = lost(isa, counts), meant = lost(Isa::portable, counts);
        expect(std::abs(own - meant) <= 0.02 * meant, where + ": loses " + std::to_string(own) + ", not " + std::to_string(meant));
    }
    if (format.block == 1) return;
    x[static_cast<std::size_t>(n + 5)] = INFINITY;
    Bytes raw(static_cast<std::size_t>(ROWS * format.row_bytes(n)));
    expect(quantize(format, isa, pool, x.data(), ROWS, n, nullptr, raw.data()) == 1, where + ": takes what is infinite");
}

}  // namespace

int main() {
    for (const Isa isa : isas_here()) {
        std::printf("%s\n", name_of(isa));
        for (const Format* format = FORMATS; format->name; ++format) {
            const std::int64_t one = format->block, odd = one == 1 ? 301 : one, piece = one == 1 ? 513 : (512 / one + 1) * one;
            for (const std::int64_t k : {one, odd, piece}) {
                for (const std::int64_t rows : {1, 7, 50}) check_products(*format, isa, rows, k);
            }
            if (can_quantize(format->id)) check_quantizer(*format, isa, 768 / one * one);
        }
        if (isa == Isa::portable) continue;
        for (const std::int64_t n : {1, 2, 3, 4, 5, 8, 31, 64, 130}) check_rows(isa, n);
        for (const Storage storage : {Storage::f32, Storage::f16, Storage::q8_0}) {
            for (const int keys : {1, 5, 17, 63, 64}) {
                for (const int dim : {32, 96}) check_attention(isa, storage, keys, dim);
            }
        }
        for (const int dim : {1, 6, 50}) check_attention(isa, Storage::f16, 9, dim);
        for (const std::int64_t n : {1, 5, 16, 67}) check_recurrences(isa, n);
    }
    std::printf("%d wrong\n", wrong);
    return wrong != 0;
}
