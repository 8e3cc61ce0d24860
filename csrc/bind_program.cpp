// The program executor in Python: _core.Runtime, _core.Weight, _core.Program.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "packing.h"
#include "platform.h"
#include "program.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heron {
namespace {

using Ints = nb::ndarray<const std::int32_t, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu>;
using Memory = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

using PySize = std::array<std::int64_t, 5>;  // constant, then the factors of T, R, S, P
using PyValue = std::tuple<int, std::vector<PySize>>;
using PyTable = std::optional<std::tuple<Ints, std::optional<Ints>>>;

Size size_of(const PySize& given) {
    Size size{given[0], {}};
    std::copy(given.begin() + 1, given.end(), size.factor.begin());
    return size;
}

Value value_of(const PyValue& given) {
    Value value{std::get<0>(given), {}};
    for (const PySize& size : std::get<1>(given)) value.shape.push_back(size_of(size));
    return value;
}

std::vector<Value> values_of(const std::vector<PyValue>& given) {
    std::vector<Value> values;
    for (const PyValue& value : given) values.push_back(value_of(value));
    return values;
}

Storage storage_of(const std::string& dtype) {
    if (dtype == "f32") return Storage::f32;
    if (dtype == "f16") return Storage::f16;
    if (dtype == "q8_0") return Storage::q8_0;
    throw ProgramError("states are stored as f32, f16 or q8_0, not " + dtype);
}

Addressing addressing_of(const std::string& kind) {
    if (kind == "token") return Addressing::token;
    if (kind == "cross") return Addressing::cross;
    if (kind == "slot") return Addressing::slot;
    throw ProgramError("there are no groups of kind " + kind);
}

const std::int32_t* data_of(const Ints& ints) { return ints.size() ? ints.data() : nullptr; }

void bind_runtime(nb::module_& m) {
    nb::class_<Runtime>(m, "Runtime", "Threads, states and buffers that the programs of one executable share.")
        .def(nb::init<int>(), "threads"_a)
        .def_prop_ro("threads", [](const Runtime& r) { return r.pool.size(); })
        .def("parallel", [](Runtime& r, std::int64_t chunks, nb::callable body) {
            const nb::gil_scoped_release release;
            r.pool.run(chunks, [&](std::int64_t chunk, int) {
                const nb::gil_scoped_acquire acquire;
                body(chunk);
            });
        }, "chunks"_a, "body"_a, "Call body(chunk) for each chunk on the runtime's threads; worth it where the body releases the GIL.")
        .def_prop_ro("arena_bytes", [](const Runtime& r) { return r.arena_bytes; })
        .def("add_group",
             [](Runtime& r, std::string name, const std::string& kind, int block_size) {
                 r.groups.push_back({std::move(name), addressing_of(kind), block_size, 0});
             })
        .def("add_field", [](Runtime& r, int group, const std::string& dtype) { r.fields.push_back({group, storage_of(dtype), 0, nullptr}); })
        .def("set_units", [](Runtime& r, std::size_t group, std::int64_t units) { r.groups.at(group).units = units; })
        .def("set_field", [](Runtime& r, std::size_t field, Bytes entries) {
            r.fields.at(field).bytes = static_cast<std::int64_t>(entries.shape(1));
            r.fields.at(field).data = reinterpret_cast<char*>(entries.data());
        }, "field"_a, "entries"_a.noconvert(), "Where the field's entries lie: uint8 [entries, bytes of one], kept alive by the caller.");
}

using Rows = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::device::cpu>;

const Layout* layout_for(const std::string& name, const std::vector<std::int64_t>& shape, int format, const Runtime& runtime) {
    if (shape.size() < 2) throw ProgramError(name + " is not a matrix");
    const Layout* layout = find_layout(format, runtime.isa);
    if (!layout) throw ProgramError(name + ": the core does not know format " + std::to_string(format));
    return layout;
}

// Room for matrices [rows, k], or for experts of them, in the layout of their format, to be packed.
void lay_out(Weight* weight, const Runtime& runtime, std::string name, std::vector<std::int64_t> shape, int format) {
    const Layout* layout = layout_for(name, shape, format, runtime);
    const std::int64_t rows = shape[shape.size() - 2], k = shape.back(), bytes = (layout->bytes(rows, k) + 63) / 64 * 64;
    std::int64_t count = 1;
    for (std::size_t i = 0; i + 2 < shape.size(); ++i) count *= shape[i];
    auto memory = std::make_unique<Pages>(count * bytes);
    std::vector<PackedMatrix> matrices;
    for (std::int64_t i = 0; i < count; ++i) matrices.push_back({layout, rows, k, memory->data() + i * bytes});
    new (weight) Weight{std::move(name), std::move(shape), {}, std::move(matrices), std::move(memory)};
}

// Matrices that stay where they are, in the file's layout; the caller keeps `rows` [rows of all matrices, bytes].
void leave(Weight* weight, const Runtime& runtime, std::string name, std::vector<std::int64_t> shape, int format, Rows rows) {
    const Layout* layout = layout_for(name, shape, format, runtime);
    const std::int64_t n = shape[shape.size() - 2], k = shape.back(), bytes = layout->format->row_bytes(k);
    std::int64_t count = 1;
    for (std::size_t i = 0; i + 2 < shape.size(); ++i) count *= shape[i];
    if (static_cast<std::int64_t>(rows.shape(0)) != count * n || static_cast<std::int64_t>(rows.shape(1)) != bytes || rows.stride(0) != bytes || rows.stride(1) != 1) {
        throw ProgramError(name + ": rows are not as a file has them");
    }
    std::vector<PackedMatrix> matrices;
    for (std::int64_t i = 0; i < count; ++i) matrices.push_back({layout, n, k, rows.data() + i * n * bytes, true});
    new (weight) Weight{std::move(name), std::move(shape), {}, std::move(matrices), nullptr};
}

// Rows [first, first + n) of one matrix. `release` says that they are a mapped file's, which nobody needs afterwards.
void pack_rows(Weight& weight, std::size_t matrix, std::int64_t first, Rows rows, bool release) {
    const PackedMatrix& to = weight.matrices.at(matrix);
    const auto n = static_cast<std::int64_t>(rows.shape(0));
    if (to.in_file || first % to.layout->rows || first < 0 || first + n > to.rows || rows.stride(1) != 1 ||
        static_cast<std::int64_t>(rows.shape(1)) != to.layout->format->row_bytes(to.k)) {
        throw ProgramError(weight.name + ": rows do not fit the matrix");
    }
    const std::uint8_t* data = rows.data();
    const std::int64_t stride = rows.stride(0);
    const nb::gil_scoped_release unlocked;
    std::uint8_t* at = weight.memory->data() + (to.data - weight.memory->data()) + first / to.layout->rows * to.layout->panel_bytes(to.k);
    pack(*to.layout, to.k, data, stride, n, at);
    if (release && n) release_file_pages(data, (n - 1) * stride + to.layout->format->row_bytes(to.k));
}

// Whether all matrices, packed or in the file, can be kept in memory.
bool lock(const Weight& weight) {
    if (weight.memory) return lock_in_memory(weight.memory->data(), weight.memory->bytes());
    const nb::gil_scoped_release unlocked;  // a file's are read for it
    for (const PackedMatrix& m : weight.matrices) {
        if (!lock_in_memory(m.data, m.rows * m.layout->format->row_bytes(m.k))) return false;
    }
    return true;
}

void bind_weight(nb::module_& m) {
    nb::class_<Weight>(m, "Weight", "Numbers that nodes use: f32 values, or matrices packed for products.")
        .def("__init__", [](Weight* w, std::string name, std::vector<std::int64_t> shape, Floats values) {
            new (w) Weight{std::move(name), std::move(shape), {values.data(), values.data() + values.size()}, {}, nullptr};
        }, "name"_a, "shape"_a, "values"_a)
        .def("__init__", lay_out, "runtime"_a, "name"_a, "shape"_a, "format"_a, "Matrices whose rows pack_rows() or a Packing brings.")
        .def("__init__", leave, "runtime"_a, "name"_a, "shape"_a, "format"_a, "rows"_a.noconvert(), nb::keep_alive<1, 6>(),
             "Matrices that stay as the file has them, and are packed at every use: half the memory, and slower.")
        .def("pack_rows", pack_rows, "matrix"_a, "first"_a, "rows"_a.noconvert(), "release"_a)
        .def("lock", lock, "Keep the matrices in memory; whether the system allows it.")
        .def_prop_ro("panel_rows", [](const Weight& w) { return w.matrices.at(0).layout->rows; }, "Rows are packed in multiples of this many.")
        .def_prop_ro("nbytes", [](const Weight& w) {
            return static_cast<std::int64_t>(w.values.size() * sizeof(float)) + (w.memory ? w.memory->bytes() : 0);
        });
    nb::class_<Packing>(m, "Packing", "Rows of a mapped file that are to be packed (csrc/packing.h).")
        .def(nb::init<>())
        .def("add", [](Packing& p, Weight& weight, std::size_t matrix, Rows rows) {
            if (rows.stride(1) != 1 || (rows.shape(0) && static_cast<std::int64_t>(rows.shape(1)) != weight.matrices.at(matrix).layout->format->row_bytes(weight.shape.back()))) {
                throw ProgramError(weight.name + ": rows do not fit the matrix");
            }
            p.add(weight, matrix, rows.data(), rows.stride(0), static_cast<std::int64_t>(rows.shape(0)));
        }, "weight"_a, "matrix"_a, "rows"_a.noconvert(), "The caller keeps both until run() is done.")
        .def("run", [](Packing& p, Runtime& r) { p.run(r.pool); }, "runtime"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("cancel", &Packing::cancel, nb::call_guard<nb::gil_scoped_release>())
        .def("hold", &Packing::hold, nb::call_guard<nb::gil_scoped_release>(), "Keep run() away from the threads and the matrices, until go_on().")
        .def("go_on", &Packing::go_on, nb::call_guard<nb::gil_scoped_release>())
        .def("hurry", &Packing::hurry, "From now on use all threads: somebody waits.")
        .def("left", &Packing::left, "Bytes that run() has still to write.")
        .def("can_wait", &Packing::can_wait, "Whether every matrix can be used before it is packed, and its file is in memory.");
}

void add_node(Program& program, std::string op, const std::vector<PyValue>& inputs, const std::vector<PyValue>& outputs,
              const std::vector<std::optional<std::shared_ptr<Weight>>>& weights, std::vector<int> fields, std::map<std::string, double> numbers,
              std::map<std::string, std::string> words, std::map<std::string, std::vector<std::int64_t>> lists) {
    Node node{std::move(op), values_of(inputs), values_of(outputs), {}, std::move(fields), {std::move(numbers), std::move(words), std::move(lists)}};
    for (const auto& weight : weights) node.weights.push_back(weight.value_or(nullptr));
    program.add(node);
}

void begin(Program& program, const Symbols& symbols, Ints query_start, Ints context_len, Ints rows, Ints cross_len, Ints embed_rows, Floats embeds,
           Ints parents, Ints slot_read, Ints slot_write, Ints slot_offset, const std::vector<PyTable>& tables, const std::vector<Memory>& given) {
    Batch batch;
    batch.query_start = query_start.data();
    batch.context_len = context_len.data();
    batch.rows = rows.data();
    batch.cross_len = data_of(cross_len);
    batch.embed_rows = embed_rows.data();
    batch.embed_count = static_cast<std::int64_t>(embed_rows.size());
    batch.embeds = embeds.data();
    if (embeds.ndim() == 2) batch.embed_columns = static_cast<std::int64_t>(embeds.shape(1));
    if (batch.embed_count && (embeds.ndim() != 2 || embeds.shape(0) != embed_rows.size())) throw ProgramError("embeds and embed_rows differ in number");
    batch.parents = data_of(parents);
    batch.slot_read = slot_read.data();
    batch.slot_write = slot_write.data();
    batch.slot_offset = slot_offset.data();
    if (slot_write.size()) batch.slot_writes = static_cast<std::int64_t>(slot_write.shape(1));
    if (static_cast<std::int64_t>(slot_read.size()) != symbols[SEQUENCES]) throw ProgramError("slot_read is not [S]");
    if (static_cast<std::int64_t>(slot_write.size()) != symbols[SEQUENCES] * batch.slot_writes || slot_offset.size() != slot_write.size()) {
        throw ProgramError("slot_write and slot_offset are not [S, J]");
    }
    for (const PyTable& table : tables) {
        if (!table) {
            batch.tables.push_back({});
            continue;
        }
        const auto& [blocks, start] = *table;
        if (blocks.ndim() != 2 || static_cast<std::int64_t>(blocks.shape(0)) != symbols[SEQUENCES]) throw ProgramError("a block table is not [S, B]");
        batch.tables.push_back({blocks.data(), start ? data_of(*start) : nullptr, static_cast<std::int64_t>(blocks.shape(1))});
    }
    std::vector<char*> buffers;
    for (const Memory& memory : given) buffers.push_back(static_cast<char*>(const_cast<void*>(memory.data())));
    program.begin(symbols, batch, buffers);
}

// A value's place in this step's buffers, as an array that is valid until the next step.
template <class Number>
nb::ndarray<nb::numpy, Number> view(nb::handle self, const PyValue& given) {
    Program& program = nb::cast<Program&>(self);
    const Value value = value_of(given);
    std::vector<std::size_t> shape;
    for (const Size& size : value.shape) shape.push_back(static_cast<std::size_t>(program.frame().size(size)));
    return {program.frame().buffers.at(static_cast<std::size_t>(value.buffer)), shape.size(), shape.data(), self};
}

void bind_programs(nb::module_& m) {
    nb::class_<Program>(m, "Program", "A lowered graph (csrc/program.h).")
        .def("__init__", [](Program* p, std::shared_ptr<Runtime> runtime, const std::vector<std::vector<PySize>>& planned) {
            std::vector<std::vector<Size>> sizes;
            for (const auto& buffer : planned) {
                sizes.emplace_back();
                for (const PySize& size : buffer) sizes.back().push_back(size_of(size));
            }
            new (p) Program(std::move(runtime), std::move(sizes));
        }, "runtime"_a, "planned"_a)
        .def("add", add_node, "op"_a, "inputs"_a, "outputs"_a, "weights"_a, "fields"_a, "numbers"_a, "words"_a, "lists"_a)
        .def("__len__", &Program::instructions)
        .def("begin", begin, "symbols"_a, "query_start"_a.noconvert(), "context_len"_a.noconvert(), "rows"_a.noconvert(), "cross_len"_a.noconvert(),
             "embed_rows"_a.noconvert(), "embeds"_a.noconvert(), "parents"_a.noconvert(), "slot_read"_a.noconvert(),
             "slot_write"_a.noconvert(), "slot_offset"_a.noconvert(), "tables"_a.noconvert(), "given"_a.noconvert(),
             "Start a step on arrays that the caller keeps alive until it ends.")
        .def("run", &Program::run, "first"_a, "last"_a, nb::call_guard<nb::gil_scoped_release>(), "Run instructions [first, last) of the step.")
        .def("view_f32", view<float>, "value"_a)
        .def("view_i32", view<std::int32_t>, "value"_a);
}

}  // namespace

void bind_program(nb::module_& m) {
    nb::exception<ProgramError>(m, "ProgramError", PyExc_RuntimeError);
    bind_runtime(m);
    bind_weight(m);
    bind_programs(m);
    m.def("native_ops", [] {
        std::vector<std::string> names;
        for (const auto& [name, maker] : kernels()) names.push_back(name);
        return names;
    }, "The ops that have a native kernel.");
    m.def("knows_format", [](int format) { return find_layout(format, chosen_isa()) != nullptr; }, "format"_a);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Isa isa : isas_here()) names.push_back(name_of(isa));
        return names;
    }, "The instruction sets that run on this CPU, the best last. HERON_ISA names one to use.");
    m.def("cores_of", cores_of, "cpus"_a, "root"_a,
          "Physical cores that a process may use which runs on `cpus` of the machine that Linux describes in files under `root`.");
    m.def("finite_rows", [](nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu> x) {
        std::vector<bool> finite;
        const auto n = static_cast<std::int64_t>(x.shape(1));
        for (std::size_t r = 0; r < x.shape(0); ++r) finite.push_back(row_kernels(chosen_isa()).finite(x.data() + static_cast<std::int64_t>(r) * n, n));
        return finite;
    }, "x"_a.noconvert(), "Which rows of x [R, n] hold neither a NaN nor an infinity.");
}

}  // namespace heron
