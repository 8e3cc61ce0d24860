// Packed matrices in Python, outside of programs: _core.Packed, for tests and benchmarks; and the machine's limits.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "layout.h"
#include "linear.h"
#include "platform.h"
#include "threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::device::cpu>;
using Ints = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Row = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using NewMatrix = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

// Matrices outside of any program: for tests and benchmarks.
class Packed {
public:
    Packed(const Layout& layout, std::int64_t matrices, std::int64_t rows, std::int64_t k)
        : layout_(layout), matrices_(matrices), rows_(rows), k_(k), memory_(matrices * layout.bytes(rows, k)) {}

    const Layout& layout() const { return layout_; }
    std::int64_t matrices() const { return matrices_; }
    std::int64_t rows() const { return rows_; }  // of one matrix
    std::int64_t k() const { return k_; }
    std::int64_t bytes() const { return memory_.bytes(); }
    PackedMatrix matrix(std::int64_t i) const { return {&layout_, rows_, k_, memory_.data() + i * layout_.bytes(rows_, k_)}; }

    // Rows first .. first + n of matrix i; `first` is a multiple of layout().rows.
    void pack(std::int64_t i, std::int64_t first, const std::uint8_t* src, std::int64_t src_stride, std::int64_t n) {
        heron::pack(layout_, k_, src, src_stride, n, memory_.data() + i * layout_.bytes(rows_, k_) + first / layout_.rows * layout_.panel_bytes(k_));
    }

private:
    const Layout& layout_;
    std::int64_t matrices_, rows_, k_;
    Pages memory_;
};

Isa isa_named(const std::string& name) {
    for (const Isa isa : isas_here()) {
        if (name == name_of(isa)) return isa;
    }
    throw std::invalid_argument("this CPU does not run " + name);
}

Mode mode_named(const std::string& name) {
    if (name == "int8") return Mode::int8;
    if (name == "f32") return Mode::f32;
    throw std::invalid_argument("activations are int8 or f32, not " + name);
}

std::int64_t size_of(std::size_t n) { return static_cast<std::int64_t>(n); }

NewMatrix new_matrix(std::int64_t rows, std::int64_t columns) {
    auto* data = new float[static_cast<std::size_t>(rows * columns)];
    const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return NewMatrix(data, {static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)}, owner);
}

std::shared_ptr<Packed> new_packed(int format, const std::string& isa, std::int64_t rows, std::int64_t k, std::int64_t matrices) {
    const Layout* layout = find_layout(format, isa_named(isa));
    if (!layout) throw std::invalid_argument("format " + std::to_string(format) + " has no layout");
    if (rows < 1 || k < 1 || matrices < 1) throw std::invalid_argument("a matrix has at least one row and column");
    if (k % layout->format->block) throw std::invalid_argument(std::to_string(k) + " columns are not whole blocks of " + layout->format->name);
    return std::make_shared<Packed>(*layout, matrices, rows, k);
}

// Rows of all matrices one after another, from `first` on, in parallel.
void pack_rows(Packed& w, std::int64_t first, Bytes src, int threads) {
    const std::int64_t n = size_of(src.shape(0)), panel = w.layout().rows;
    if (first < 0 || n > w.matrices() * w.rows() - first) throw std::out_of_range("rows beyond the last");
    if (n == 0) return;
    if (size_of(src.shape(1)) != w.layout().format->row_bytes(w.k())) throw std::invalid_argument("the rows are not as long as the matrix's");
    if (src.stride(1) != 1) throw std::invalid_argument("the bytes of a row do not lie together");
    const std::uint8_t* data = src.data();
    const std::int64_t stride = src.stride(0), per_matrix = w.layout().panels(w.rows());
    const std::int64_t begin = first / w.rows() * per_matrix + first % w.rows() / panel;
    const std::int64_t last = first + n - 1, end = last / w.rows() * per_matrix + last % w.rows() / panel + 1;
    if (first % w.rows() % panel) throw std::invalid_argument("rows are packed from the start of a panel on");
    const nb::gil_scoped_release release;
    ThreadPool(threads).ranges(end - begin, 1, [&](std::int64_t from, std::int64_t to, int) {
        for (std::int64_t p = begin + from; p < begin + to; ++p) {
            const std::int64_t i = p / per_matrix, row = p % per_matrix * panel, at = i * w.rows() + row - first;
            w.pack(i, row, data + at * stride, stride, std::min({panel, w.rows() - row, n - at}));
        }
    });
}

NewMatrix unpacked_rows(const Packed& w, Ints index, std::int64_t matrix) {
    for (std::size_t i = 0; i < index.size(); ++i) {
        if (index.data()[i] < 0 || index.data()[i] >= w.rows()) throw std::out_of_range("row " + std::to_string(index.data()[i]));
    }
    if (matrix < 0 || matrix >= w.matrices()) throw std::out_of_range("matrix " + std::to_string(matrix));
    NewMatrix out = new_matrix(size_of(index.size()), w.k());
    const nb::gil_scoped_release release;
    unpack_rows(w.matrix(matrix), index.data(), size_of(index.size()), out.data(), w.k());
    return out;
}

struct alignas(64) Line {
    std::uint8_t bytes[64];
};

NewMatrix linear(const Packed& w, Matrix x, const std::string& activations, int threads, std::optional<Row> bias, std::int64_t matrix,
                 std::optional<Ints> rows, std::int64_t repeat) {
    if (size_of(x.shape(1)) != w.k()) throw std::invalid_argument("x has other columns than the matrix");
    if (bias && size_of(bias->size()) != w.rows()) throw std::invalid_argument("the bias has other rows than the matrix");
    if (matrix < 0 || matrix >= w.matrices()) throw std::out_of_range("matrix " + std::to_string(matrix));
    const std::int64_t tokens = size_of(rows ? rows->size() : x.shape(0));
    for (std::int64_t t = 0; rows && t < tokens; ++t) {
        if (rows->data()[t] < 0 || rows->data()[t] >= size_of(x.shape(0))) throw std::out_of_range("row " + std::to_string(rows->data()[t]));
    }
    const ActivationKind kind = w.layout().kind(mode_named(activations));
    NewMatrix out = new_matrix(tokens, w.rows());
    if (tokens == 0) return out;
    const nb::gil_scoped_release release;
    ThreadPool pool(threads);
    const Isa isa = w.layout().isa;
    std::vector<Line> prepared(static_cast<std::size_t>(activation_bytes(kind, w.k()) * tokens) / sizeof(Line) + 1);
    for (std::int64_t i = 0; i < repeat; ++i) {
        const PackedMatrix m = w.matrix((matrix + i) % w.matrices());
        pool.ranges(tile_count(kind, isa, tokens), 1, [&](std::int64_t begin, std::int64_t end, int) {
            prepare(kind, isa, x.data(), w.k(), tokens, w.k(), begin, end, prepared.data(), rows ? rows->data() : nullptr);
        });
        pool.ranges((m.panels() + PANELS_TOGETHER - 1) / PANELS_TOGETHER, 1, [&](std::int64_t begin, std::int64_t end, int) {
            const std::int64_t last = std::min(m.panels(), end * PANELS_TOGETHER);
            dot(m, begin * PANELS_TOGETHER, last, {kind, tokens, prepared.data()}, out.data(), w.rows(), bias ? bias->data() : nullptr);
        });
    }
    return out;
}

// Seconds for `work(thread)` on all threads at once, the best of a few times.
template <class Work>
double best_seconds(int threads, const Work& work) {
    ThreadPool pool(threads);
    double best = 0;
    for (int i = 0; i < 3; ++i) {
        const auto start = std::chrono::steady_clock::now();
        std::atomic<std::int64_t> result{0};
        pool.run(threads, [&](std::int64_t thread, int) { result += work(thread); });
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (i == 0 || seconds < best) best = seconds;
    }
    return best;
}

// Whether this CPU multiplies pairs of bf16 in vectors of 512 bits.
bool has_bf16() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

nb::dict machine_limits(const std::string& name, int threads) {
    const LinearKernels& kernels = linear_kernels(isa_named(name));
    constexpr std::int64_t BYTES = 256 << 20, ROUNDS = 1000000, TILE_ROUNDS = ROUNDS / 8;  // about as long
    const bool pairs = kernels.multiply_bf16 && has_bf16();
    const TileKernels* tiles = tile_kernels(isa_named(name));
    double read, int8, f32, bf16, tiles_int8 = 0, tiles_bf16 = 0;
    {
        const nb::gil_scoped_release release;
        const std::vector<std::uint8_t> memory(static_cast<std::size_t>(BYTES * threads), 1);
        read = best_seconds(threads, [&](std::int64_t thread) { return kernels.read_memory(memory.data() + thread * BYTES, BYTES); });
        int8 = best_seconds(threads, [&](std::int64_t) { return kernels.multiply_int8(ROUNDS); });
        f32 = best_seconds(threads, [&](std::int64_t) { return kernels.multiply_f32(ROUNDS); });
        bf16 = pairs ? best_seconds(threads, [&](std::int64_t) { return kernels.multiply_bf16(ROUNDS); }) : f32;
        if (tiles) {
            tiles_int8 = best_seconds(threads, [&](std::int64_t) { return tiles->multiply_int8(TILE_ROUNDS); });
            tiles_bf16 = best_seconds(threads, [&](std::int64_t) { return tiles->multiply_bf16(TILE_ROUNDS); });
        }
    }
    const double products = static_cast<double>(ROUNDS) * kernels.sums * kernels.width * threads;
    nb::dict limits;
    limits["read"] = static_cast<double>(BYTES) * threads / read;
    limits["int8"] = 4 * products / int8;
    limits["f32"] = products / f32;
    limits["bf16"] = std::max(products / f32, (pairs ? 2 : 1) * products / bf16);  // some CPUs multiply pairs at half the pace
    if (tiles) {
        const double pieces = static_cast<double>(TILE_ROUNDS) * 4 * 16 * 16 * threads;
        limits["int8 tiles"] = 64 * pieces / tiles_int8;
        limits["bf16 tiles"] = 32 * pieces / tiles_bf16;
    }
    return limits;
}

}  // namespace

void bind_kernels(nb::module_& m) {
    m.def("layout_name", [](int format, const std::string& isa) -> std::optional<std::string> {
        const Layout* layout = find_layout(format, isa_named(isa));
        if (!layout) return std::nullopt;
        return std::string(layout->format->name) + (layout->interleaved ? "x" : "/") + std::to_string(layout->rows);
    }, "format"_a, "isa"_a, "The layout of a format (its GGUF id), as Q4_0x16: 16 rows interleaved; Q4_0/16 where they lie side by side. None without one.");
    m.def("machine_limits", machine_limits, "isa"_a, "threads"_a,
          "What the machine can do at most, on so many threads: bytes read from memory, multiply-adds of int8, of f32, and of bf16 (as pairs or as f32, whichever is faster), per second; with AMX those of its tiles too.");
    nb::class_<Packed>(m, "Packed", "Matrices [matrices, rows, k] of one format, laid out for an instruction set.")
        .def(nb::new_(&new_packed), "format"_a, "isa"_a, "rows"_a, "k"_a, "matrices"_a = 1)
        .def("pack", pack_rows, "first"_a, "rows"_a.noconvert(), "threads"_a = 0,
             "Pack rows uint8 [n, row_bytes], as the file has them, from row `first` of all matrices on, which starts a panel.")
        .def("unpack_rows", unpacked_rows, "index"_a, "matrix"_a = 0, "The decoded rows `index`, int32 [n], of one matrix: float32 [n, k].")
        .def("linear", linear, "x"_a.noconvert(), "activations"_a = "int8", "threads"_a = 1, "bias"_a = nb::none(), "matrix"_a = 0, "rows"_a = nb::none(),
             "repeat"_a = 1, "x float32 [T, k], or its rows `rows`, times the matrix transposed: float32 [T, rows]. `repeat` goes on to the matrices that follow: for timing.")
        .def_prop_ro("shape", [](const Packed& w) { return nb::make_tuple(w.matrices(), w.rows(), w.k()); })
        .def_prop_ro("panel_rows", [](const Packed& w) { return w.layout().rows; })
        .def_prop_ro("nbytes", &Packed::bytes);
}

}  // namespace heron
