// What stands between the layouts (layout.h) and the kernels of each instruction set (linear.inc).
#pragma once

#include "layout.h"

namespace heron {

// The arguments of a product, as the kernels read them. No member function: one compiled for a newer CPU could be kept for all.
struct Product {
    const Format* format;
    const std::uint8_t* data;
    std::int64_t rows, k, panel_bytes, panel_begin, panel_end;
    const std::uint8_t* x;  // prepared
    std::int64_t tokens;
    float* out;
    std::int64_t ldo;
    const float* bias;
    const std::int32_t* places;
};

constexpr int FEW = 4;  // tokens multiplied by quantized weights without unpacking into the cache first

constexpr int NO_FORMAT = 1 << 30;  // ends a table

struct LinearKernel {
    int format;  // its id
    ActivationKind int8;
    void (*kernel_int8)(const Product&);
    void (*kernel_f32)(const Product&);
};

// Everything that one instruction set gives to products.
struct LinearKernels {
    int width;  // rows in a panel
    int tile;   // tokens in a tile, at most
    const LinearKernel* table;  // ends with NO_FORMAT
    void (*decoded_f32)(const Product&);  // for any format, in panels that are not interleaved
    // Token t of a tile of `count` tokens is the row x + rows[t].
    void (*prepare_tile)(ActivationKind kind, const float* x, const std::int64_t* rows, int count, std::int64_t k, std::uint8_t* to);
    // The machine's limits (limits.inc), for benchmarks.
    std::int64_t (*read_memory)(const std::uint8_t* data, std::int64_t bytes);
    std::int64_t (*multiply_int8)(std::int64_t rounds);
    std::int64_t (*multiply_f32)(std::int64_t rounds);
    std::int64_t (*multiply_bf16)(std::int64_t rounds);  // null without such a product; else not for every CPU of the instruction set
    int sums;  // vectors of products in a round
};

// What an instruction set for tiles adds to another one, whose layout of weights it reads.
struct TileKernels {
    int tile;                          // tokens in a tile, at most
    const LinearKernel* table;         // kernel_int8 for activations in tiles, or none; ends with NO_FORMAT
    void (*decoded)(const Product&);   // for any other format
    void (*prepare_tile)(ActivationKind kind, const float* x, const std::int64_t* rows, int count, std::int64_t k, std::uint8_t* to);
    // The limits of its tiles (amx_limits.inc): a round is four products of 16 rows of 64 bytes by as many.
    std::int64_t (*multiply_int8)(std::int64_t rounds);
    std::int64_t (*multiply_bf16)(std::int64_t rounds);
};

extern const TileKernels TILES_AMX;

extern const LinearKernels LINEAR_PORTABLE, LINEAR_AVX2, LINEAR_AVX512, LINEAR_NEON, LINEAR_DOTPROD, LINEAR_I8MM;

const LinearKernels& linear_kernels(Isa isa);
const TileKernels* tile_kernels(Isa isa);  // null where the instruction set has no tiles

// Prepared activations are cut into pieces of K, a piece into tiles of tokens: kernels unpack a piece of weights and pass over
// the tiles, and what is read one after another lies so (or else a second-level cache is a fifth slower).
constexpr std::int64_t PIECE_Q8 = 512, PIECE_PLAIN = 256;

// Bytes before element k, which begins a group, of the tile of `count` tokens from `first` on, when a token's `k_all` elements are
// `bytes` for each group of `group`.
static inline std::int64_t tile_offset(std::int64_t piece, std::int64_t group, std::int64_t bytes, std::int64_t tokens, std::int64_t k_all, std::int64_t first,
                                       std::int64_t count, std::int64_t k) {
    const std::int64_t before = k / piece * piece, length = k_all - before < piece ? k_all - before : piece;
    return (before * tokens + length * first + (k - before) * count) / group * bytes;
}

// K is cut into chunks, of whole pieces and as equal as can be, whose activations (`bytes` for an element of K) stay in the
// second-level cache beside the sums and the weights that pass.
static inline std::int64_t chunk_length(std::int64_t k, std::int64_t piece, std::int64_t bytes) {
    constexpr std::int64_t STAY = 1400 << 10;
    const std::int64_t pieces = (k + piece - 1) / piece, fit = STAY / (bytes * piece) > 0 ? STAY / (bytes * piece) : 1;
    const std::int64_t chunks = (pieces + fit - 1) / fit;
    return (pieces + chunks - 1) / chunks * piece;
}

// Tokens are split into tiles as equal in size as can be: where tile i of `tiles` begins.
static inline std::int64_t tile_start(std::int64_t tokens, std::int64_t tiles, std::int64_t i) {
    const std::int64_t least = tokens / tiles, larger = tokens % tiles;
    return i * least + (i < larger ? i : larger);
}

}  // namespace heron
