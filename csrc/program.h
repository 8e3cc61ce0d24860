// A lowered graph: values that lie in planned buffers, and instructions that a step runs one after another.
//
// Sizes are linear in a step's symbols (tokens, wanted rows, sequences, position axes), so a program is built once
// for each entry and set of outputs, and begin() only evaluates sizes. Nothing is allocated in a step but where it is
// the largest so far.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "layout.h"
#include "platform.h"
#include "rows.h"
#include "threads.h"

namespace heron {

// What the batch or the graph got wrong, in words for the user. Becomes heron.errors.BackendError.
struct ProgramError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum Symbol { TOKENS, ROWS, SEQUENCES, AXES };  // T, R, S, P in heron/graph/dims.py
using Symbols = std::array<std::int64_t, 4>;

struct Size {
    std::int64_t constant = 0;
    std::array<std::int64_t, 4> factor{};

    std::int64_t at(const Symbols& symbols) const;
};

// A dense array of f32 or i32, which are both four bytes wide. `buffer` says where it lies in a step.
struct Value {
    int buffer;
    std::vector<Size> shape;

    std::int64_t columns() const { return shape.empty() ? 1 : shape.back().constant; }  // the last axis is never open
};

// Numbers that a node uses: an array of f32, or matrices packed for products (one, or one for each expert).
struct Weight {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
    std::vector<PackedMatrix> matrices;
    std::unique_ptr<Pages> memory;  // of the matrices
};
using WeightPtr = std::shared_ptr<const Weight>;

// How states are addressed: by blocks of tokens, by blocks of an encoder's tokens, or by slots of one state each.
enum class Addressing { token, cross, slot };

// States that are addressed alike: heron/graph/graph.py. `units` blocks (or slots) of them are allocated.
struct Group {
    std::string name;
    Addressing kind = Addressing::token;
    int block_size = 1;
    std::int64_t units = 0;
};

// Where a state's field is stored: places of `bytes` each, by block and place in it. Python owns the memory.
struct StateField {
    int group = 0;
    Storage storage = Storage::f32;
    std::int64_t bytes = 0;
    char* data = nullptr;
};

// What programs of one executable share: threads, states, and the memory that their buffers lie in.
struct Runtime {
    explicit Runtime(int threads) : isa(chosen_isa()), kernels(row_kernels(isa)), pool(threads) {}
    char* reserve(std::int64_t bytes);

    const Isa isa;
    const RowKernels& kernels;
    ThreadPool pool;
    std::vector<Group> groups;
    std::vector<StateField> fields;
    std::int64_t arena_bytes = 0;

private:
    std::unique_ptr<char[]> arena_;
};

// A group's block table in this step: [S, width] block ids; `start` [S] (or null) is the place of the first, in blocks.
struct Table {
    const std::int32_t* blocks = nullptr;
    const std::int32_t* start = nullptr;
    std::int64_t width = 0;
};

// heron/backends/batch.py, as pointers that are valid during the step.
struct Batch {
    const std::int32_t *query_start = nullptr, *context_len = nullptr, *rows = nullptr;
    const std::int32_t *cross_len = nullptr, *embed_rows = nullptr, *parents = nullptr;
    const std::int32_t *slot_read = nullptr, *slot_write = nullptr, *slot_offset = nullptr;  // the latter two [S, slot_writes]
    std::int64_t slot_writes = 0;
    const float* embeds = nullptr;
    std::int64_t embed_count = 0, embed_columns = 0;
    std::vector<Table> tables;  // by group
};

// A step under way: what instructions see.
struct Frame {
    explicit Frame(Runtime& r) : runtime(r), pool(r.pool), kernels(r.kernels) {}

    Runtime& runtime;
    ThreadPool& pool;
    const RowKernels& kernels;
    Symbols symbols{};
    Batch batch{};
    std::vector<std::int32_t> sequence, place;  // [T] of each token: its sequence, and its place therein
    std::vector<char> crossed;                  // [S] whether another sequence writes the slot that this one resumes from
    std::vector<char*> buffers;
    char* scratch = nullptr;
    std::uint64_t number = 0;  // of the step

    std::int64_t size(const Size& s) const { return s.at(symbols); }
    std::int64_t elements(const Value& v) const;
    std::int64_t rows(const Value& v) const { return elements(v) / v.columns(); }
    float* f32(const Value& v) const { return reinterpret_cast<float*>(buffers[static_cast<std::size_t>(v.buffer)]); }
    std::int32_t* i32(const Value& v) const { return reinterpret_cast<std::int32_t*>(buffers[static_cast<std::size_t>(v.buffer)]); }

    // Work of less than this many elements of simple arithmetic is not worth handing to another thread.
    static constexpr std::int64_t GRAIN = 8192;

    // Calls body(begin, end) on ranges of rows of `columns` elements, each element of which costs `weight`.
    template <class Body>
    void by_rows(std::int64_t rows, std::int64_t columns, const Body& body, int weight = 1) const {
        pool.ranges(rows, std::max<std::int64_t>(1, GRAIN / std::max<std::int64_t>(1, columns * weight)),
                    [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
    }

    // Calls body(begin, end) on ranges of elements, on whole cache lines.
    template <class Body>
    void by_elements(std::int64_t count, const Body& body, int weight = 1) const {
        pool.ranges((count + 15) / 16, GRAIN / 16 / weight,
                    [&](std::int64_t begin, std::int64_t end, int) { body(begin * 16, std::min(count, end * 16)); });
    }
};

struct Instruction {
    std::function<void(Frame&)> run;
    std::function<std::int64_t(const Frame&)> scratch;  // bytes that it needs in Frame::scratch; may be empty
};

// Attributes of a node by kind of value; booleans are numbers.
struct Attributes {
    std::map<std::string, double> numbers;
    std::map<std::string, std::string> words;
    std::map<std::string, std::vector<std::int64_t>> lists;

    double number(const std::string& name, double otherwise = 0) const;
    const std::string& word(const std::string& name) const;
};

struct Node {
    std::string op;
    std::vector<Value> inputs, outputs;
    std::vector<WeightPtr> weights;  // null where the node has none at this place
    std::vector<int> fields;         // of the state that it reads or writes, by index in Runtime::fields
    Attributes attributes;

    const Weight* weight(std::size_t i) const { return i < weights.size() ? weights[i].get() : nullptr; }
    const float* values(std::size_t i) const { return weight(i) ? weight(i)->values.data() : nullptr; }
};

// Things that several instructions share, found by name.
using Shared = std::map<std::string, std::shared_ptr<void>>;

using Maker = Instruction (*)(const Node&, Shared&);
using Kernels = std::map<std::string, Maker>;
const Kernels& kernels();  // op -> how its instruction is made

class Program {
public:
    // `planned[b]` are the sizes, in elements, that buffer b must hold; buffers from planned.size() on are given to begin().
    Program(std::shared_ptr<Runtime> runtime, std::vector<std::vector<Size>> planned);

    void add(const Node& node);

    // Start a step. `given` are the buffers that lie outside the arena. Throws ProgramError where the batch does not fit.
    void begin(const Symbols& symbols, const Batch& batch, const std::vector<char*>& given);
    // Run instructions [first, last) of the step.
    void run(std::size_t first, std::size_t last);

    Frame& frame() { return frame_; }
    std::size_t instructions() const { return instructions_.size(); }

private:
    void place_tokens();
    void cross_slots();
    void check_tables() const;
    void check_slots(const Group& group) const;
    void place_buffers(const std::vector<char*>& given);

    std::shared_ptr<Runtime> runtime_;
    std::vector<std::vector<Size>> planned_;
    std::vector<Instruction> instructions_;
    std::set<std::pair<int, bool>> groups_;  // whose tables or slots the instructions use, and whether as long as the sources are
    std::vector<std::int64_t> offsets_;
    Shared shared_;
    Frame frame_;
};

}  // namespace heron
