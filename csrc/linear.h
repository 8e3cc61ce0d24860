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
    const LinearKernel* table;  // ends with format < 0
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
    const LinearKernel* table;         // kernel_int8 for activations in tiles, or none; ends with format < 0
    void (*decoded)(const Product&);   // for any other format
    void (*prepare_tile)(ActivationKind kind, const float* x, const std::int64_t* rows, int count, std::int64_t k, std::uint8_t* to);
    // The limits of its tiles (amx_limits.inc): a round is four products of 16 rows of 64 bytes by as many.
    std::int64_t (*multiply_int8)(std::int64_t rounds);
    std::int64_t (*multiply_bf16)(std::int64_t rounds);
};

extern const TileKernels TILES_AMX;

extern const LinearKernels LINEAR_PORTABLE, LINEAR_AVX2, LINEAR_AVX512, LINEAR_NEON, LINEAR_DOTPROD;

const LinearKernels& linear_kernels(Isa isa);
const TileKernels* tile_kernels(Isa isa);  // null where the instruction set has no tiles

// Tokens are split into tiles as equal in size as can be: where tile i of `tiles` begins.
static inline std::int64_t tile_start(std::int64_t tokens, std::int64_t tiles, std::int64_t i) {
    const std::int64_t least = tokens / tiles, larger = tokens % tiles;
    return i * least + (i < larger ? i : larger);
}

}  // namespace heron
