#include "layout.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "linear.h"

namespace heron {

const LinearKernels& linear_kernels(Isa isa) {
    switch (isa) {
#if defined(__x86_64__) || defined(_M_X64)
        case Isa::amx:
        case Isa::avx512: return LINEAR_AVX512;
        case Isa::avx2: return LINEAR_AVX2;
#elif defined(__aarch64__)
        case Isa::i8mm: return LINEAR_I8MM;
        case Isa::dotprod: return LINEAR_DOTPROD;
        case Isa::neon: return LINEAR_NEON;
#endif
        default: return LINEAR_PORTABLE;
    }
}

const TileKernels* tile_kernels([[maybe_unused]] Isa isa) {
#ifdef HERON_AMX
    if (isa == Isa::amx) return &TILES_AMX;
#endif
    return nullptr;
}

namespace {

const LinearKernel* of_format(const LinearKernel* table, int format) {
    while (table->format != NO_FORMAT && table->format != format) ++table;
    return table->format == NO_FORMAT ? nullptr : table;
}

Layout layout_of(const Format& format, Isa isa) {
    const LinearKernels& kernels = linear_kernels(isa);
    const LinearKernel* own = of_format(kernels.table, format.id);
    Layout layout = own ? Layout{&format, isa, kernels.width, true, own->int8, own->kernel_int8, own->kernel_f32}
                        : Layout{&format, isa, kernels.width, false, {}, kernels.decoded_f32, kernels.decoded_f32};
    if (const TileKernels* tiles = tile_kernels(isa)) {
        const LinearKernel* tiled = of_format(tiles->table, format.id);
        layout.int8 = tiled ? tiled->int8 : ActivationKind{.pairs = true};
        layout.kernel_tiles = tiled ? tiled->kernel_int8 : tiles->decoded;
    }
    return layout;
}

// Whether activations of this kind are prepared in tiles: pairs always; int8 of one scale where there are tokens enough to gain by it.
bool in_tiles(ActivationKind kind, Isa isa, std::int64_t tokens) {
    constexpr std::int64_t ENOUGH = 12;
    return tile_kernels(isa) && (kind.pairs || (kind.q8 && kind.parts == 1 && tokens >= ENOUGH));
}

constexpr int MOST_ROWS = 16, MOST_TOKENS = 16;  // of a panel, of a tile
constexpr int MOST_BYTES = 320;                  // of a block

// Copies units of SIZE bytes so that a unit of each row lies together, row by row; returns where the next field goes.
template <int SIZE>
std::uint8_t* interleave(std::uint8_t* to, const std::uint8_t* const* rows, std::int64_t offset, std::int64_t count, int width) {
    for (std::int64_t unit = 0; unit < count; ++unit, offset += SIZE) {
        for (int row = 0; row < width; ++row, to += SIZE) std::memcpy(to, rows[row] + offset, SIZE);
    }
    return to;
}

std::uint8_t* interleave(std::uint8_t* to, const std::uint8_t* const* rows, std::int64_t offset, std::int64_t count, int size, int width) {
    if (size == 4) return interleave<4>(to, rows, offset, count, width);
    if (size == 2) return interleave<2>(to, rows, offset, count, width);
    return interleave<1>(to, rows, offset, count, width);
}

// One block of each row, `offset` bytes into it.
void pack_block(const Layout& layout, std::uint8_t* to, const std::uint8_t* const* rows, std::int64_t offset) {
    const Format& format = *layout.format;
    const auto bytes = static_cast<std::size_t>(format.bytes);
    std::uint8_t arranged[MOST_ROWS][MOST_BYTES];
    const std::uint8_t* from[MOST_ROWS];
    for (int row = 0; row < layout.rows; ++row) {
        from[row] = rows[row] + offset;
        if (format.rearrange && layout.interleaved) {
            std::memcpy(arranged[row], from[row], bytes);
            format.rearrange(arranged[row], false);
            from[row] = arranged[row];
        }
        if (!layout.interleaved) std::memcpy(to + row * format.bytes, from[row], bytes);
    }
    if (!layout.interleaved) return;
    std::int64_t at = 0;
    for (const Field& field : format.fields) {
        to = interleave(to, from, at, field.count, field.size, layout.rows);
        at += field.count * field.size;
    }
}

// The block of one row, as the file had it.
void unpack_block(const Layout& layout, const std::uint8_t* from, int row, std::uint8_t* block) {
    const Format& format = *layout.format;
    if (!layout.interleaved) {
        std::memcpy(block, from + row * format.bytes, static_cast<std::size_t>(format.bytes));
        return;
    }
    std::uint8_t* to = block;
    for (const Field& field : format.fields) {
        const auto size = static_cast<std::size_t>(field.size);
        for (int unit = 0; unit < field.count; ++unit, to += size) std::memcpy(to, from + (unit * layout.rows + row) * field.size, size);
        from += field.count * field.size * layout.rows;
    }
    if (format.rearrange) format.rearrange(block, true);
}

}  // namespace

const Layout* find_layout(int format_id, Isa isa) {
    static const std::vector<Layout> layouts = [] {
        std::vector<Layout> all;
        for (const Isa each : isas_here()) {
            for (const Format* format = FORMATS; format->name; ++format) all.push_back(layout_of(*format, each));
        }
        return all;
    }();
    const auto found = std::find_if(layouts.begin(), layouts.end(), [&](const Layout& l) { return l.format->id == format_id && l.isa == isa; });
    return found == layouts.end() ? nullptr : &*found;
}

void pack(const Layout& layout, std::int64_t k, const std::uint8_t* src, std::int64_t src_stride, std::int64_t n_rows, std::uint8_t* dst) {
    const Format& format = *layout.format;
    const std::vector<std::uint8_t> missing(static_cast<std::size_t>(format.row_bytes(k)));
    for (std::int64_t first = 0; first < n_rows; first += layout.rows, dst += layout.panel_bytes(k)) {
        const std::uint8_t* rows[MOST_ROWS];
        for (int row = 0; row < layout.rows; ++row) rows[row] = first + row < n_rows ? src + (first + row) * src_stride : missing.data();
        if (format.block == 1) {
            interleave(dst, rows, 0, k, format.bytes, layout.rows);
        } else {
            for (std::int64_t b = 0; b < k / format.block; ++b) pack_block(layout, dst + b * format.bytes * layout.rows, rows, b * format.bytes);
        }
    }
}

void unpack_rows(const PackedMatrix& matrix, const std::int32_t* index, std::int64_t n, float* out, std::int64_t ldo) {
    const Layout& layout = *matrix.layout;
    const Format& format = *layout.format;
    std::uint8_t block[MOST_BYTES];
    for (std::int64_t i = 0; i < n; ++i) {
        if (matrix.in_file) {
            const std::uint8_t* row = matrix.data + index[i] * format.row_bytes(matrix.k);
            for (std::int64_t b = 0; b < matrix.k / format.block; ++b) format.decode(row + b * format.bytes, out + i * ldo + b * format.block);
            continue;
        }
        const std::uint8_t* panel = matrix.data + index[i] / layout.rows * layout.panel_bytes(matrix.k);
        for (std::int64_t b = 0; b < matrix.k / format.block; ++b, panel += format.bytes * layout.rows) {
            unpack_block(layout, panel, index[i] % layout.rows, block);
            format.decode(block, out + i * ldo + b * format.block);
        }
    }
}

std::int64_t tile_count(ActivationKind kind, Isa isa, std::int64_t tokens) {
    const int most = in_tiles(kind, isa, tokens) ? tile_kernels(isa)->tile : linear_kernels(isa).tile;
    return (tokens + most - 1) / most;
}

std::int64_t activation_bytes(ActivationKind kind, std::int64_t k) {
    if (kind.pairs) k = (k + 31) / 32 * 32;
    return kind.q8 ? k / 32 * (36 + 4 * kind.parts) : 4 * k;
}

void prepare(ActivationKind kind, Isa isa, const float* x, std::int64_t ldx, std::int64_t tokens, std::int64_t k, std::int64_t tile_begin,
             std::int64_t tile_end, void* buffer, const std::int32_t* index) {
    const auto prepare_tile = in_tiles(kind, isa, tokens) ? tile_kernels(isa)->prepare_tile : linear_kernels(isa).prepare_tile;
    const std::int64_t tiles = tile_count(kind, isa, tokens), piece = kind.q8 ? PIECE_Q8 : PIECE_PLAIN;
    const std::int64_t group = kind.q8 || kind.pairs ? 32 : 1, bytes = activation_bytes(kind, group), k_all = (k + group - 1) / group * group;
    for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
        const std::int64_t first = tile_start(tokens, tiles, tile), count = tile_start(tokens, tiles, tile + 1) - first;
        std::int64_t rows[MOST_TOKENS];
        for (std::int64_t t = 0; t < count; ++t) rows[t] = (index ? index[first + t] : first + t) * ldx;
        for (std::int64_t at = 0; at < k; at += piece) {
            const std::int64_t offset = tile_offset(piece, group, bytes, tokens, k_all, first, count, at);
            prepare_tile(kind, x + at, rows, static_cast<int>(count), std::min(piece, k - at), static_cast<std::uint8_t*>(buffer) + offset);
        }
    }
}

// A few panels at a time are packed into memory that stays in the cache, and multiplied there.
static void dot_in_file(const PackedMatrix& matrix, std::int64_t panel_begin, std::int64_t panel_end, const Activations& x, float* out,
                        std::int64_t ldo, const float* bias, const std::int32_t* places) {
    const Layout& layout = *matrix.layout;
    const std::int64_t stride = layout.format->row_bytes(matrix.k);
    thread_local std::vector<std::uint8_t> memory;
    memory.resize(static_cast<std::size_t>(PANELS_TOGETHER * layout.panel_bytes(matrix.k) + 63));
    std::uint8_t* packed = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
    for (std::int64_t panel = panel_begin; panel < panel_end; panel += PANELS_TOGETHER) {
        const std::int64_t first = panel * layout.rows, panels = std::min(PANELS_TOGETHER, panel_end - panel);
        const std::int64_t rows = std::min(matrix.rows - first, panels * layout.rows);
        pack(layout, matrix.k, matrix.data + first * stride, stride, rows, packed);
        dot({&layout, rows, matrix.k, packed}, 0, panels, x, out + first, ldo, bias ? bias + first : nullptr, places);
    }
}

void dot(const PackedMatrix& matrix, std::int64_t panel_begin, std::int64_t panel_end, const Activations& x, float* out, std::int64_t ldo,
         const float* bias, const std::int32_t* places) {
    if (matrix.in_file) return dot_in_file(matrix, panel_begin, panel_end, x, out, ldo, bias, places);
    const Layout& layout = *matrix.layout;
    const auto kernel = in_tiles(x.kind, layout.isa, x.tokens) ? layout.kernel_tiles : x.kind.q8 ? layout.kernel_int8 : layout.kernel_f32;
    kernel({layout.format, matrix.data, matrix.rows, matrix.k, layout.panel_bytes(matrix.k), panel_begin, panel_end,
            static_cast<const std::uint8_t*>(x.data), x.tokens, out, ldo, bias, places});
}

}  // namespace heron
