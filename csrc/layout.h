// Weights laid out for the machine, and products with them.
//
// A packed matrix is a sequence of panels of R rows, R being the vector width in 32-bit lanes (16 for AVX-512, 8 for
// AVX2). Inside a panel, block by block along K and field by field inside a block, the same unit (mostly 4 bytes) of
// all R rows lies together, so that one load brings a unit of each row and one activation serves them all. Packing
// only moves bytes: nothing is rounded, and a row can be taken out again exactly. Missing rows of the last panel are
// zero bytes and are never written to the output.
//
// How the executor multiplies x, f32 [T, K], by W [rows, K]:
//
//     const Layout* layout = find_layout(format_id, isa);              // once, at load
//     pack(*layout, K, src, src_stride, n_rows, dst);                  // panels are independent: any thread, any order
//     PackedMatrix w{layout, rows, K, dst};
//
//     ActivationKind kind = layout->kind(mode);                        // matrices of equal kind share what follows
//     char* buffer;                                                    // activation_bytes(kind, K) * T, 64-byte aligned
//     prepare(kind, isa, x, ldx, T, K, tile_begin, tile_end, buffer);  // tiles 0 .. tile_count(kind, isa, T), any split
//     -- barrier --
//     dot(w, panel_begin, panel_end, {kind, T, buffer}, out, ldo, bias);  // panels 0 .. w.panels(), any split
//
// The contract of numbers: out[t, r] is accumulated along K in one fixed order. It does not depend on T, on which
// other tokens are in the step, or on how panels and tiles are split over threads: it is the same bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format.h"
#include "isa.h"

namespace heron {

// int8: quantized weights are multiplied by int8 activations (others by f32, or by pairs of bf16); f32: always f32.
enum class Mode { int8, f32 };

// The form that activations take before products. q8: int8 per 32 elements of K with an f32 scale (the largest
// magnitude / 127; values rounded to nearest even); and for each of the `parts` of those 32 their sum, made into what
// corrects for the zero point of the weights: -offset * sum, an integer to start from; or, for weights with minima,
// -sum as f32, to multiply the minima by.
struct ActivationKind {
    bool q8 = false;
    bool pairs = false;       // not as f32 but as a sum of two bf16, which has 16 bits of a number's digits
    std::uint8_t parts = 1;   // scales of the weights in 32 elements: 1 or 2
    std::uint8_t offset = 0;  // the zero point of the weights as the kernel sees them
    bool minima = false;
    bool operator==(const ActivationKind&) const = default;
};

struct Product;  // the arguments of a kernel: linear.h

struct Layout {
    const Format* format;
    Isa isa;
    int rows;             // rows in a panel
    bool interleaved;     // by the format's fields; else a panel holds whole blocks of its rows side by side
    ActivationKind int8;  // what kernel_int8 multiplies by
    void (*kernel_int8)(const Product&);
    void (*kernel_f32)(const Product&);
    void (*kernel_tiles)(const Product&) = nullptr;  // of activations in tiles: see in_tiles()

    ActivationKind kind(Mode mode) const { return mode == Mode::int8 ? int8 : ActivationKind{}; }
    std::int64_t panels(std::int64_t n_rows) const { return (n_rows + rows - 1) / rows; }
    std::int64_t panel_bytes(std::int64_t k) const { return rows * format->row_bytes(k); }
    std::int64_t bytes(std::int64_t n_rows, std::int64_t k) const { return panels(n_rows) * panel_bytes(k); }
};

// nullptr when this build does not know the format: decode it elsewhere, and lay it out as F32.
const Layout* find_layout(int format_id, Isa isa);

// Rows in the file's layout, `src_stride` bytes apart, into layout.bytes(n_rows, k) bytes at `dst`. A caller that packs
// in pieces begins each at a multiple of layout.rows. k is a multiple of the format's block.
void pack(const Layout& layout, std::int64_t k, const std::uint8_t* src, std::int64_t src_stride, std::int64_t n_rows, std::uint8_t* dst);

struct PackedMatrix {
    const Layout* layout;
    std::int64_t rows, k;
    const std::uint8_t* data;  // 64-byte aligned. Experts [E, rows, k] are packed each by itself.
    bool in_file = false;      // not packed: rows as the file has them, one after another, anywhere. dot() packs panels as it needs them.

    std::int64_t panels() const { return layout->panels(rows); }
    std::int64_t bytes() const { return layout->bytes(rows, k); }
};

// The rows `index[0 .. n)` decoded: out [n, k], ldo floats apart. The caller has checked the indexes.
void unpack_rows(const PackedMatrix& matrix, const std::int32_t* index, std::int64_t n, float* out, std::int64_t ldo);

// Kernels take panels side by side: hand them out in multiples of this many.
constexpr std::int64_t PANELS_TOGETHER = 4;

// Tokens are prepared in tiles of as many as a kernel takes at a time; inside a tile they are interleaved.
std::int64_t tile_count(ActivationKind kind, Isa isa, std::int64_t tokens);
std::int64_t activation_bytes(ActivationKind kind, std::int64_t k);  // of one token; a multiple of 4

// Tiles tile_begin .. tile_end of x [tokens, k], rows ldx floats apart, into `buffer`, which holds all tokens. With
// `index`, token t is row index[t] of x: how tokens are gathered for an expert. A token with a value that is not
// finite gives products that are not finite.
void prepare(ActivationKind kind, Isa isa, const float* x, std::int64_t ldx, std::int64_t tokens, std::int64_t k, std::int64_t tile_begin,
             std::int64_t tile_end, void* buffer, const std::int32_t* index = nullptr);

struct Activations {
    ActivationKind kind;
    std::int64_t tokens;  // T, as given to prepare(); at least 1
    const void* data;     // what prepare() wrote
};

// out[place(t) * ldo + r] = W[r] . x[t] (+ bias[r]) for the rows r of panels panel_begin .. panel_end and all tokens.
// place(t) is t, or places[t]: how an expert's results find their slots.
void dot(const PackedMatrix& matrix, std::int64_t panel_begin, std::int64_t panel_end, const Activations& x, float* out, std::int64_t ldo,
         const float* bias = nullptr, const std::int32_t* places = nullptr);

}  // namespace heron
