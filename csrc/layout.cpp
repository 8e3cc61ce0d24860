#include "layout.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "linear.h"

namespace heron {

const LinearKernels& linear_kernels(Isa isa) {
    switch (isa) {
#if defined(__x86_64__) || defined(_M_X64)
        case Isa::avx512: return LINEAR_AVX512;
        case Isa::avx2: return LINEAR_AVX2;
#endif
        default: return LINEAR_PORTABLE;
    }
}

namespace {

Layout layout_of(const Format& format, Isa isa) {
    const LinearKernels& kernels = linear_kernels(isa);
    for (const LinearKernel* k = kernels.table; k->format >= 0; ++k) {
        if (k->format == format.id) return {&format, isa, kernels.width, true, k->int8, k->kernel_int8, k->kernel_f32};
    }
    return {&format, isa, kernels.width, false, {}, kernels.decoded_f32, kernels.decoded_f32};
}

// Units of SIZE bytes of `width` rows go from their rows to where they lie together, or back. A null row is left out.
template <int SIZE>
void move_units(std::uint8_t* panel, std::uint8_t* const* rows, std::int64_t offset, int count, int width, bool back) {
    for (int unit = 0; unit < count; ++unit, offset += SIZE) {
        for (int row = 0; row < width; ++row, panel += SIZE) {
            if (!rows[row]) continue;
            if (back) {
                std::memcpy(rows[row] + offset, panel, SIZE);
            } else {
                std::memcpy(panel, rows[row] + offset, SIZE);
            }
        }
    }
}

// One block of each row of a panel.
void move_block(const Layout& layout, std::uint8_t* panel, std::uint8_t* const* rows, std::int64_t offset, bool back) {
    const Format& format = *layout.format;
    if (!layout.interleaved) {
        for (int row = 0; row < layout.rows; ++row, panel += format.bytes) {
            if (!rows[row]) continue;
            if (back) {
                std::memcpy(rows[row] + offset, panel, static_cast<std::size_t>(format.bytes));
            } else {
                std::memcpy(panel, rows[row] + offset, static_cast<std::size_t>(format.bytes));
            }
        }
        return;
    }
    for (const Field& field : format.fields) {
        if (field.size == 4) move_units<4>(panel, rows, offset, field.count, layout.rows, back);
        if (field.size == 2) move_units<2>(panel, rows, offset, field.count, layout.rows, back);
        if (field.size == 1) move_units<1>(panel, rows, offset, field.count, layout.rows, back);
        panel += field.count * field.size * layout.rows;
        offset += field.count * field.size;
    }
}

constexpr int MOST_ROWS = 16, MOST_TOKENS = 16;  // of a panel, of a tile

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
    const std::int64_t panel_bytes = layout.panel_bytes(k), block_bytes = layout.format->bytes;
    for (std::int64_t first = 0; first < n_rows; first += layout.rows, dst += panel_bytes) {
        std::uint8_t* rows[MOST_ROWS] = {};
        const std::int64_t count = std::min<std::int64_t>(layout.rows, n_rows - first);
        for (std::int64_t row = 0; row < count; ++row) rows[row] = const_cast<std::uint8_t*>(src + (first + row) * src_stride);
        if (count < layout.rows) std::memset(dst, 0, static_cast<std::size_t>(panel_bytes));
        for (std::int64_t b = 0; b < k / layout.format->block; ++b) move_block(layout, dst + b * block_bytes * layout.rows, rows, b * block_bytes, false);
    }
}

void unpack_rows(const PackedMatrix& matrix, const std::int32_t* index, std::int64_t n, float* out, std::int64_t ldo) {
    const Layout& layout = *matrix.layout;
    const Format& format = *layout.format;
    std::vector<std::uint8_t> block(static_cast<std::size_t>(format.bytes));
    for (std::int64_t i = 0; i < n; ++i) {
        auto* panel = const_cast<std::uint8_t*>(matrix.data + index[i] / layout.rows * layout.panel_bytes(matrix.k));
        std::uint8_t* rows[MOST_ROWS] = {};
        rows[index[i] % layout.rows] = block.data();
        for (std::int64_t b = 0; b < matrix.k / format.block; ++b, panel += format.bytes * layout.rows) {
            move_block(layout, panel, rows, 0, true);
            format.decode(block.data(), out + i * ldo + b * format.block);
        }
    }
}

std::int64_t tile_count(Isa isa, std::int64_t tokens) {
    const int most = linear_kernels(isa).tile;
    return (tokens + most - 1) / most;
}

std::int64_t activation_bytes(ActivationKind kind, std::int64_t k) { return kind.q8 ? k / 32 * (36 + 4 * kind.parts) : 4 * k; }

void prepare(ActivationKind kind, Isa isa, const float* x, std::int64_t ldx, std::int64_t tokens, std::int64_t k, std::int64_t tile_begin,
             std::int64_t tile_end, void* buffer, const std::int32_t* index) {
    const LinearKernels& kernels = linear_kernels(isa);
    const std::int64_t tiles = tile_count(isa, tokens), token_bytes = activation_bytes(kind, k);
    for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
        const std::int64_t first = tile_start(tokens, tiles, tile), count = tile_start(tokens, tiles, tile + 1) - first;
        std::int64_t rows[MOST_TOKENS];
        for (std::int64_t t = 0; t < count; ++t) rows[t] = (index ? index[first + t] : first + t) * ldx;
        kernels.prepare_tile(kind, x, rows, static_cast<int>(count), k, static_cast<std::uint8_t*>(buffer) + first * token_bytes);
    }
}

void dot(const PackedMatrix& matrix, std::int64_t panel_begin, std::int64_t panel_end, const Activations& x, float* out, std::int64_t ldo,
         const float* bias, const std::int32_t* places) {
    const Layout& layout = *matrix.layout;
    const auto kernel = x.kind.q8 ? layout.kernel_int8 : layout.kernel_f32;
    kernel({layout.format, matrix.data, matrix.rows, matrix.k, layout.panel_bytes(matrix.k), panel_begin, panel_end,
            static_cast<const std::uint8_t*>(x.data), x.tokens, out, ldo, bias, places});
}

}  // namespace heron
