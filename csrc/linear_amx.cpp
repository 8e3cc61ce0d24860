// Products in tiles (AMX): the weights and their layout are AVX-512's, the activations lie in rows. With int8 a tile
// gives the same integers as AVX-512's dot products, and the rest is done in the same order: the numbers are the same bit
// for bit. Other weights are multiplied as sums of two bf16, which together have 16 bits of a number's digits.
#define HERON_VECTOR amx
#include "linear.h"
#include "format_values.h"
#include "integers.h"

#include "linear_formats.inc"
#include "linear_tables.inc"
#include "linear_grids.inc"
#include "linear_prepare.inc"

namespace heron::amx {

constexpr int TOKENS = 16;               // in a tile, at most
constexpr int MOST_TILES = 36;           // that pass over some panels at a time: their sums wait in the second-level cache
constexpr std::int64_t STAY = 1 << 20;   // bytes of activations that stay in the second-level cache meanwhile
constexpr int PANELS = 2;                // unpacked at a time
constexpr int PIECE_INT8 = 512;          // elements of K unpacked at a time: the first-level cache holds them, and a tile's activations
constexpr int PIECE_PAIRS = 256;         // the same as pairs; a block of any format at least
constexpr int PIECE_FEW = 64;            // the same with one tile of tokens
constexpr int AHEAD = 2048;              // bytes between what is read and what is asked for from memory
constexpr int LANE = 64;                 // bytes of a vector, and of a row of a full tile
constexpr int TILE_BYTES = 16 * LANE;

static inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// The compiler's names of tiles take a number for a register, not a constant.
template <int R>
static inline void zero() {
    if constexpr (R == 0) _tile_zero(0);
    if constexpr (R == 1) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 3) _tile_zero(3);
}
template <int R>
static inline void load_sums(const void* from) {
    if constexpr (R == 0) _tile_loadd(0, from, LANE);
    if constexpr (R == 1) _tile_loadd(1, from, LANE);
    if constexpr (R == 2) _tile_loadd(2, from, LANE);
    if constexpr (R == 3) _tile_loadd(3, from, LANE);
}
template <int R>
static inline void store_sums(void* to) {
    if constexpr (R == 0) _tile_stored(0, to, LANE);
    if constexpr (R == 1) _tile_stored(1, to, LANE);
    if constexpr (R == 2) _tile_stored(2, to, LANE);
    if constexpr (R == 3) _tile_stored(3, to, LANE);
}
template <int R>
static inline void dot_int8() {
    if constexpr (R == 0) _tile_dpbssd(0, 4, 6);
    if constexpr (R == 1) _tile_dpbssd(1, 4, 6);
    if constexpr (R == 2) _tile_dpbssd(2, 4, 6);
    if constexpr (R == 3) _tile_dpbssd(3, 4, 6);
}

// Registers: sums 0 to 3, activations 4 and 5, weights 6 and 7. Sums are `tokens` rows of 16 numbers, activations
// `tokens` rows of x_bytes, weights w_rows rows of 64 bytes.
static void configure(int tokens, int x_bytes, int w_rows) {
    struct alignas(64) {
        std::uint8_t palette = 1, start = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {};
        std::uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
        config.rows[i] = static_cast<std::uint8_t>(i < 6 ? tokens : w_rows);
        config.row_bytes[i] = static_cast<std::uint16_t>(i == 4 || i == 5 ? x_bytes : LANE);
    }
    _tile_loadconfig(&config);
}

// The tiles that pass over some panels at a time.
struct Tiles {
    std::int64_t begin, end, all, tokens;

    std::int64_t first(std::int64_t tile) const { return tile_start(tokens, all, tile); }
    int count(std::int64_t tile) const { return static_cast<int>(first(tile + 1) - first(tile)); }
};

// The products of a tile's tokens with one panel, to where they go.
static void finish(const Product& p, const float* sums, int count, std::int64_t token, std::int64_t panel) {
    const int lanes = static_cast<int>(smaller(W, p.rows - panel * W));
    const Vec bias = p.bias ? load_first(p.bias + panel * W, lanes) : all(0.0f);
    for (int n = 0; n < count; ++n) {
        Vec value = load(sums + n * W);
        if (p.bias) value = add(value, bias);
        store_first(p.out + (p.places ? p.places[token + n] : token + n) * p.ldo + panel * W, value, lanes);
    }
}

// ---- int8 ----

// Bytes of a group of 32 elements of a panel, unpacked: signed bytes [8][16 rows][4], their scales, and their minima.
template <class F>
constexpr int UNPACKED = LANE * (F::MINIMA ? 10 : 9);
constexpr int SCALES = 8 * LANE, MINIMA = 9 * LANE;

template <class F>
static void unpack(Byte* to, const Product& p, std::int64_t panel, std::int64_t k, std::int64_t length) {
    const Byte* w = p.data + panel * p.panel_bytes + k / F::BLOCK * F::BYTES * W;
    const Int zero = all_int(static_cast<std::int32_t>(0x01010101u * (F::MINIMA ? 0u : F::WIDE ? WIDE_OFFSET : F::OFFSET)));
    for (std::int64_t b = 0; b < length / F::BLOCK; ++b, w += F::BYTES * W) {
        for (int line = 0; line < F::BYTES * W; line += LANE) prefetch(w + AHEAD + line);
        const F block{w};
        HERON_UNROLL_BLOCK
        for (int g = 0; g < F::BLOCK / GROUP; ++g, to += UNPACKED<F>) {
            HERON_UNROLL_BLOCK
            for (int j = 0; j < 8; ++j) store_int(to + LANE * j, _mm512_sub_epi8(block.quants(g, j), zero));
            store(reinterpret_cast<float*>(to + SCALES), block.scale(g, 0));
            if constexpr (F::MINIMA) store(reinterpret_cast<float*>(to + MINIMA), block.minimum(g, 0));
        }
    }
}

// Of N tokens (those beyond `count` are of no use) the sums over a piece of K. Prepared activations of a group are scale
// [count], correction [count], int8 [count][32]. Tiles run ahead of the vectors that take up their sums: what a tile stores
// cannot be read at once.
template <class F, int N>
static void multiply(float* sums, const Byte* w, const Byte* x, std::int64_t groups, int count, bool first) {
    alignas(64) std::int32_t dots[4][TOKENS * W];
    const std::int64_t x_bytes = group_bytes(1) * count;
    Vec sum[N];
    HERON_UNROLL
    for (int n = 0; n < N; ++n) sum[n] = first ? all(0.0f) : load(sums + n * W);

    const Byte *w_next = w, *x_next = x + 8 * count;
    // Inlined, whatever the compiler thinks: the sums are registers.
    const auto begin = [&]<int R>(std::integral_constant<int, R>) __attribute__((always_inline)) {
        zero<R>();
        _tile_loadd(4, x_next, GROUP);
        _tile_loadd(6, w_next, LANE);
        dot_int8<R>();
        store_sums<R>(dots[R]);
        w_next += UNPACKED<F>, x_next += x_bytes;
    };
    const auto end = [&]<int R>(std::integral_constant<int, R>) __attribute__((always_inline)) {
        const Vec scale = load(reinterpret_cast<const float*>(w + SCALES));
        HERON_UNROLL
        for (int n = 0; n < N; ++n) {
            Vec product = to_float(load_int(dots[R] + n * W));
            if constexpr (F::MINIMA) {
                product = mul_add(product, scale, mul(load(reinterpret_cast<const float*>(w + MINIMA)), broadcast(x + 4 * (count + n))));
            } else {
                product = mul(product, scale);
            }
            sum[n] = mul_add(product, broadcast(x + 4 * n), sum[n]);
        }
        w += UNPACKED<F>, x += x_bytes;
    };
    constexpr std::integral_constant<int, 0> R0;
    constexpr std::integral_constant<int, 1> R1;
    constexpr std::integral_constant<int, 2> R2;
    constexpr std::integral_constant<int, 3> R3;
    begin(R0);
    if (groups > 1) begin(R1);
    std::int64_t g = 0;
    for (; g + 4 <= groups; g += 4) {
        begin(R2), end(R0);
        begin(R3), end(R1);
        if (g + 4 < groups) begin(R0);
        end(R2);
        if (g + 5 < groups) begin(R1);
        end(R3);
    }
    if (g + 2 < groups) begin(R2);
    if (g < groups) end(R0);
    if (g + 1 < groups) end(R1);
    if (g + 2 < groups) end(R2);
    HERON_UNROLL
    for (int n = 0; n < N; ++n) store(sums + n * W, sum[n]);
}

using Multiply = void (*)(float*, const Byte*, const Byte*, std::int64_t, int, bool);

template <class F>
static void product_int8(const Product& p) {
    constexpr std::int64_t STRIDE = PIECE_INT8 / GROUP * UNPACKED<F>;
    alignas(64) Byte unpacked[PANELS * STRIDE];
    alignas(64) float sums[MOST_TILES * PANELS * TOKENS * W];
    static constexpr Multiply FOR[] = {multiply<F, 4>, multiply<F, 8>, multiply<F, 12>, multiply<F, 16>};
    const std::int64_t all_tiles = (p.tokens + TOKENS - 1) / TOKENS, token = p.k / GROUP * group_bytes(1);
    int configured = 0;
    const std::int64_t stay = smaller(MOST_TILES, STAY / (TOKENS * token) + 2) / 2 * 2;
    for (std::int64_t begin = 0; begin < all_tiles; begin += stay) {
        const Tiles tiles{begin, smaller(all_tiles, begin + stay), all_tiles, p.tokens};
        for (std::int64_t panel = p.panel_begin; panel < p.panel_end; panel += PANELS) {
            const std::int64_t panels = smaller(PANELS, p.panel_end - panel);
            for (std::int64_t k = 0; k < p.k; k += PIECE_INT8) {
                const std::int64_t length = smaller(PIECE_INT8, p.k - k);
                for (std::int64_t i = 0; i < panels; ++i) unpack<F>(unpacked + i * STRIDE, p, panel + i, k, length);
                for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
                    const std::int64_t from = tiles.first(tile);
                    const int count = tiles.count(tile);
                    if (count != configured) configure(configured = count, GROUP, 8);
                    const Byte* x = p.x + from * token + k / GROUP * group_bytes(1) * count;
                    for (std::int64_t i = 0; i < panels; ++i) {
                        float* mine = sums + ((tile - begin) * PANELS + i) * TOKENS * W;
                        FOR[(count + 3) / 4 - 1](mine, unpacked + i * STRIDE, x, length / GROUP, count, k == 0);
                        if (k + length == p.k) finish(p, mine, count, from, panel + i);
                    }
                }
            }
        }
    }
    _tile_release();
}

// ---- pairs of bf16 ----

// A piece of a panel in pairs: for each 32 elements a tile of what bf16 holds of them, and one of the rest.
using Split = void (*)(Byte* to, const Product& p, std::int64_t panel, std::int64_t k, std::int64_t length);

static inline Vec float_of(__m256bh a) { return as_float(_mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i&>(a)), 16)); }

// The first halves of two elements of 16 rows, side by side as a row of a tile has them.
static inline Int first_halves(Vec even, Vec odd) {
    const Int upper = _mm512_and_si512(_mm512_castps_si512(odd), all_int(static_cast<std::int32_t>(0xffff0000u)));
    return bit_or(shift_right(_mm512_castps_si512(even), 16), upper);
}
static inline Vec without_first_half(Vec a) { return sub(a, as_float(_mm512_and_si512(_mm512_castps_si512(a), all_int(static_cast<std::int32_t>(0xffff0000u))))); }

// Cut off, not rounded: a half's digits then are in the two parts exactly, and nearly all of a float's.
static inline void split_floats(Byte* to, Vec even, Vec odd) {
    store_int(to, first_halves(even, odd));
    store_int(to + TILE_BYTES, first_halves(without_first_half(even), without_first_half(odd)));
}
static inline void split_f16(Byte* to, const Byte* w) {
    split_floats(to, load_half(reinterpret_cast<const std::uint16_t*>(w)), load_half(reinterpret_cast<const std::uint16_t*>(w) + W));
}
static inline void split_bf16(Byte* to, const Byte* w) {  // nothing is left
    const auto* halves = reinterpret_cast<const std::uint16_t*>(w);
    store_int(to, bit_or(widen_16(halves), shift_left(widen_16(halves + W), 16)));
}

// A plain format, whose 32 elements of 16 rows are 1024 bytes.
template <void (*SPLIT)(Byte*, const Byte*)>
static void split_plain(Byte* to, const Product& p, std::int64_t panel, std::int64_t k, std::int64_t length) {
    const Byte* w = p.data + panel * p.panel_bytes + 2 * W * k;
    alignas(64) Byte last[TILE_BYTES] = {};
    for (std::int64_t i = 0; i < length; i += GROUP, w += TILE_BYTES, to += 2 * TILE_BYTES) {
        const std::int64_t left = length - i;
        if (left < GROUP) std::memcpy(last, w, static_cast<std::size_t>(2 * W * left));
        const Byte* from = left < GROUP ? last : w;
        HERON_UNROLL
        for (int row = 0; row < 16; ++row) {
            prefetch(from + AHEAD + LANE * row);
            SPLIT(to + LANE * row, from + LANE * row);
        }
    }
}

// A format without a view: each row's blocks lie side by side, and are decoded one by one.
static void split_decoded(Byte* to, const Product& p, std::int64_t panel, std::int64_t k, std::int64_t length) {
    const Format& f = *p.format;
    const Byte* w = p.data + panel * p.panel_bytes + k / f.block * f.bytes * W;
    alignas(64) float values[PIECE_PAIRS * W];
    float row_values[PIECE_PAIRS];
    for (std::int64_t i = 0; i < length; i += f.block) {
        for (int row = 0; row < W; ++row, w += f.bytes) {
            f.decode(w, row_values);
            for (int j = 0; j < f.block; ++j) values[(i + j) * W + row] = row_values[j];
        }
    }
    const std::int64_t whole = (length + GROUP - 1) / GROUP * GROUP;
    std::memset(values + length * W, 0, static_cast<std::size_t>((whole - length) * W) * sizeof(float));
    for (std::int64_t i = 0; i < whole; i += 2) {
        split_floats(to + i / GROUP * 2 * TILE_BYTES + i % GROUP / 2 * LANE, load(values + i * W), load(values + (i + 1) * W));
    }
}

// Sums of X tiles of tokens times P panels, four together at most: products of the high halves, and, before them, of each with
// the other's low half. `exact`: the weights' low halves are 0.
template <int X, int P>
static void multiply_pairs(float* const* sums, const Byte* w, std::int64_t w_stride, const Byte* const* x, int count, std::int64_t blocks, bool exact, bool first) {
    static_assert((X == 1 && P <= 4) || (X == 2 && P <= 2));
    const auto each = [](auto use) {  // register X's tile * panels + panel
        use(std::integral_constant<int, 0>{});
        if constexpr (X * P > 1) use(std::integral_constant<int, 1>{});
        if constexpr (X * P > 2) use(std::integral_constant<int, 2>{}), use(std::integral_constant<int, 3>{});
    };
    each([&]<int I>(std::integral_constant<int, I>) {
        if (first) {
            zero<I>();
        } else {
            load_sums<I>(sums[I]);
        }
    });
    const auto load_x = [&](std::int64_t b, int half) {
        _tile_loadd(4, x[0] + (2 * b + half) * LANE * count, LANE);
        if constexpr (X > 1) _tile_loadd(5, x[1] + (2 * b + half) * LANE * count, LANE);
    };
    const auto products = [&](std::int64_t b, int half) {
        const Byte* tile = w + (2 * b + half) * TILE_BYTES;
        _tile_loadd(6, tile, LANE);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (P > 1) {
            _tile_loadd(7, tile + w_stride, LANE);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (X > 1 && P == 1) _tile_dpbf16ps(1, 5, 6);
        if constexpr (X > 1 && P > 1) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        if constexpr (P > 2) {
            _tile_loadd(6, tile + 2 * w_stride, LANE);
            _tile_dpbf16ps(2, 4, 6);
            _tile_loadd(7, tile + 3 * w_stride, LANE);
            _tile_dpbf16ps(3, 4, 7);
        }
    };
    for (std::int64_t b = 0; b < blocks; ++b) {
        load_x(b, 0);
        if (!exact) products(b, 1);
        products(b, 0);
        load_x(b, 1), products(b, 0);
    }
    each([&]<int I>(std::integral_constant<int, I>) { store_sums<I>(sums[I]); });
}

// Prepared activations of 32 elements are, for N tokens, high halves [N][32] and low halves [N][32].
// Tokens of one tile meet four panels at a time, so that a product need not wait for the last.
static void product_pairs(const Product& p, Split split, bool exact, std::int64_t few) {
    constexpr int MOST_PANELS = 4;
    constexpr std::int64_t BLOCK = 2 * TILE_BYTES, STRIDE = PIECE_PAIRS / GROUP * BLOCK;
    alignas(64) Byte unpacked[MOST_PANELS * STRIDE];
    alignas(64) float sums[MOST_TILES * PANELS * TOKENS * W];
    const std::int64_t all_tiles = (p.tokens + TOKENS - 1) / TOKENS, token = (p.k + GROUP - 1) / GROUP * 2 * LANE;
    const std::int64_t stay = smaller(MOST_TILES, STAY / (TOKENS * token) + 2) / 2 * 2, together = all_tiles == 1 ? MOST_PANELS : PANELS;
    const std::int64_t piece = all_tiles == 1 ? few : PIECE_PAIRS;
    int configured = 0;
    for (std::int64_t begin = 0; begin < all_tiles; begin += stay) {
        const Tiles tiles{begin, smaller(all_tiles, begin + stay), all_tiles, p.tokens};
        for (std::int64_t panel = p.panel_begin, panels; panel < p.panel_end; panel += panels) {
            panels = panel + together <= p.panel_end ? together : 1;
            for (std::int64_t k = 0; k < p.k; k += piece) {
                const std::int64_t length = smaller(piece, p.k - k), blocks = (length + GROUP - 1) / GROUP;
                for (std::int64_t i = 0; i < panels; ++i) split(unpacked + i * STRIDE, p, panel + i, k, length);
                for (std::int64_t tile = begin, step; tile < tiles.end; tile += step) {
                    const int count = tiles.count(tile);
                    step = tile + 1 < tiles.end && tiles.count(tile + 1) == count ? 2 : 1;
                    if (count != configured) configure(configured = count, LANE, 16);
                    float* mine[4];
                    const Byte* x[2];
                    for (int i = 0; i < 4; ++i) mine[i] = sums + ((tile - begin) * panels + i) * TOKENS * W;
                    for (int i = 0; i < 2; ++i) x[i] = p.x + tiles.first(tile + (i < step ? i : 0)) * token + k / GROUP * 2 * LANE * count;
                    const auto kernel = panels == 4 ? multiply_pairs<1, 4>
                                        : step == 2 ? (panels == 2 ? multiply_pairs<2, 2> : multiply_pairs<2, 1>)
                                                    : (panels == 2 ? multiply_pairs<1, 2> : multiply_pairs<1, 1>);
                    kernel(mine, unpacked, STRIDE, x, count, blocks, exact, k == 0);
                    if (k + length < p.k) continue;
                    for (std::int64_t i = 0; i < step * panels; ++i) finish(p, mine[i], count, tiles.first(tile + i / panels), panel + i % panels);
                }
            }
        }
    }
    _tile_release();
}

static void product_f16(const Product& p) { product_pairs(p, split_plain<split_f16>, false, PIECE_FEW); }
static void product_bf16(const Product& p) { product_pairs(p, split_plain<split_bf16>, true, PIECE_FEW); }
static void product_decoded(const Product& p) { product_pairs(p, split_decoded, false, PIECE_PAIRS); }

// ---- activations ----

static void prepare_tile(ActivationKind kind, const float* x, const std::int64_t* rows, int count, std::int64_t k, std::uint8_t* to) {
    if (kind.q8) {
        for (std::int64_t g = 0; g < k / GROUP; ++g, to += group_bytes(kind.parts) * count) {
            auto* q = reinterpret_cast<std::int8_t*>(to + 8 * count);
            for (int n = 0; n < count; ++n) quantize_group(kind, x + rows[n] + g * GROUP, q + GROUP * n, to + 4 * n, 4 * count);
        }
        return;
    }
    for (std::int64_t i = 0; i < k; i += GROUP, to += 2 * LANE * count) {
        const int left = static_cast<int>(smaller(GROUP, k - i));
        for (int n = 0; n < count; ++n) {
            const float* from = x + rows[n] + i;
            const Vec low = left < W ? load_first(from, left) : load(from);
            const Vec high = left == GROUP ? load(from + W) : left > W ? load_first(from + W, left - W) : all(0.0f);
            const __m256bh low_whole = _mm512_cvtneps_pbh(low), high_whole = _mm512_cvtneps_pbh(high);
            const __m512bh whole = _mm512_cvtne2ps_pbh(high, low), rest = _mm512_cvtne2ps_pbh(sub(high, float_of(high_whole)), sub(low, float_of(low_whole)));
            std::memcpy(to + LANE * n, &whole, LANE);
            std::memcpy(to + LANE * (count + n), &rest, LANE);
        }
    }
}

// Weights with two scales in 32 elements are multiplied faster without tiles, whose sums would be taken up twice.
template <class F>
constexpr LinearKernel quantized() {
    if constexpr (F::PARTS == 1) return {F::ID, quantized_kind<F>(), product_int8<F>, nullptr};
    return {F::ID, quantized_kind<F>(), nullptr, nullptr};
}
template <class F>
constexpr LinearKernel gathered() {
    return quantized<F>();
}
template <class F>
constexpr LinearKernel plain() {
    if constexpr (F::ID == F16::ID) return {F::ID, {.pairs = true}, product_f16, nullptr};
    if constexpr (F::ID == BF16::ID) return {F::ID, {.pairs = true}, product_bf16, nullptr};
    return {F::ID, {}, nullptr, nullptr};
}

}  // namespace heron::amx

#include "linear_table.inc"

namespace heron {

const TileKernels TILES_AMX = {
    .tile = amx::TOKENS,
    .table = amx::TABLE,
    .decoded = amx::product_decoded,
    .prepare_tile = amx::prepare_tile,
};

}  // namespace heron
