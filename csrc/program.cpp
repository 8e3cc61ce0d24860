#include "program.h"

#include <algorithm>
#include <new>

namespace heron {
namespace {

constexpr std::int64_t ALIGNMENT = 64;  // a cache line, and the widest vector

std::int64_t aligned(std::int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

}  // namespace

std::int64_t Size::at(const Symbols& symbols) const {
    std::int64_t total = constant;
    for (std::size_t i = 0; i < symbols.size(); ++i) total += factor[i] * symbols[i];
    return total;
}

std::int64_t Frame::elements(const Value& v) const {
    std::int64_t count = 1;
    for (const Size& s : v.shape) count *= size(s);
    return count;
}

double Attributes::number(const std::string& name, double otherwise) const {
    const auto found = numbers.find(name);
    return found == numbers.end() ? otherwise : found->second;
}

const std::string& Attributes::word(const std::string& name) const {
    const auto found = words.find(name);
    if (found == words.end()) throw ProgramError("a node lacks its attribute " + name);
    return found->second;
}

char* Runtime::reserve(std::int64_t bytes) {
    if (bytes > arena_bytes) {
        arena_.reset();
        arena_bytes = 0;
        arena_.reset(new char[static_cast<std::size_t>(bytes + ALIGNMENT)]);
        arena_bytes = bytes;
    }
    const auto at = reinterpret_cast<std::uintptr_t>(arena_.get());
    return arena_.get() + (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
}

Program::Program(std::shared_ptr<Runtime> runtime, std::vector<std::vector<Size>> planned)
    : runtime_(std::move(runtime)), planned_(std::move(planned)), frame_(*runtime_) {}

void Program::add(const Node& node) {
    const auto maker = kernels().find(node.op);
    if (maker == kernels().end()) throw ProgramError("there is no native kernel for " + node.op);
    instructions_.push_back(maker->second(node, shared_));
    for (const int field : node.fields) {
        const int group = runtime_->fields.at(static_cast<std::size_t>(field)).group;
        // A cross state is written by the encoder, whose tokens it holds, and only read by the decoder: nodes without outputs write.
        const bool cross = runtime_->groups.at(static_cast<std::size_t>(group)).kind == Addressing::cross;
        groups_.insert({group, cross && !node.outputs.empty()});
    }
}

void Program::begin(const Symbols& symbols, const Batch& batch, const std::vector<char*>& given) {
    frame_.symbols = symbols;
    frame_.batch = batch;
    ++frame_.number;
    place_tokens();
    cross_slots();
    check_tables();
    place_buffers(given);
}

void Program::run(std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) instructions_.at(i).run(frame_);
}

void Program::place_tokens() {
    const auto tokens = static_cast<std::size_t>(frame_.symbols[TOKENS]);
    frame_.sequence.resize(tokens);
    frame_.place.resize(tokens);
    for (std::int64_t s = 0; s < frame_.symbols[SEQUENCES]; ++s) {
        const std::int32_t first = frame_.batch.query_start[s], last = frame_.batch.query_start[s + 1];
        for (std::int32_t t = first; t < last; ++t) {
            frame_.sequence[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(s);
            frame_.place[static_cast<std::size_t>(t)] = frame_.batch.context_len[s] - last + t;
        }
    }
}

void Program::cross_slots() {
    const Batch& batch = frame_.batch;
    const auto sequences = static_cast<std::int32_t>(frame_.symbols[SEQUENCES]);
    frame_.crossed.assign(static_cast<std::size_t>(sequences), 0);
    if (!batch.slot_writes) return;
    std::vector<std::pair<std::int32_t, std::int32_t>> readers;  // slot and sequence
    for (std::int32_t s = 0; s < sequences; ++s) readers.emplace_back(batch.slot_read[s], s);
    std::sort(readers.begin(), readers.end());
    for (std::int64_t i = 0; i < sequences * batch.slot_writes; ++i) {
        const std::int32_t slot = batch.slot_write[i];
        if (slot <= 0) continue;
        for (auto r = std::lower_bound(readers.begin(), readers.end(), std::pair{slot, 0}); r != readers.end() && r->first == slot; ++r) {
            if (r->second != i / batch.slot_writes) frame_.crossed[static_cast<std::size_t>(r->second)] = 1;
        }
    }
}

// Every slot that is read or written must be in the state's memory.
void Program::check_slots(const Group& group) const {
    const Batch& batch = frame_.batch;
    const auto check = [&](std::int64_t slot, std::int64_t sequence) {
        if (slot < 0 || slot >= group.units) {
            throw ProgramError("group " + group.name + ": slot " + std::to_string(slot) + " of sequence " + std::to_string(sequence) + " is outside the " +
                               std::to_string(group.units) + " allocated");
        }
    };
    for (std::int64_t s = 0; s < frame_.symbols[SEQUENCES]; ++s) {
        check(batch.slot_read[s], s);
        for (std::int64_t j = 0; j < batch.slot_writes; ++j) check(batch.slot_write[s * batch.slot_writes + j], s);
    }
}

// Every block that holds a token of a sequence must be in its table and in the state's memory.
void Program::check_tables() const {
    for (const auto& [g, crossed] : groups_) {
        const Group& group = runtime_->groups[static_cast<std::size_t>(g)];
        const Table& table = frame_.batch.tables.at(static_cast<std::size_t>(g));
        const std::string where = "group " + group.name;
        if (group.units == 0) throw ProgramError("run() before allocate(): " + where + " has no room yet");
        if (group.kind == Addressing::slot) {
            check_slots(group);
            continue;
        }
        if (!table.blocks) throw ProgramError(where + ": the batch has no block table for it");
        if (crossed && !frame_.batch.cross_len) throw ProgramError(where + ": the batch does not say how long its sources are (cross_len)");
        for (std::int64_t s = 0; s < frame_.symbols[SEQUENCES]; ++s) {
            const std::int64_t tokens = crossed ? frame_.batch.cross_len[s] : frame_.batch.context_len[s];
            const std::int64_t used = (tokens + group.block_size - 1) / group.block_size - (table.start ? table.start[s] : 0);
            if (used > table.width) {
                throw ProgramError(where + ": sequence " + std::to_string(s) + " has " + std::to_string(tokens) + " tokens, and its table only " +
                                   std::to_string(table.width) + " blocks of " + std::to_string(group.block_size));
            }
            const std::int64_t before = frame_.batch.context_len[s] - (frame_.batch.query_start[s + 1] - frame_.batch.query_start[s]);
            if (table.start && table.start[s] > before / group.block_size) {
                throw ProgramError(where + ": sequence " + std::to_string(s) + " writes before its table's first block");
            }
            for (std::int64_t b = 0; b < used; ++b) {
                const std::int32_t block = table.blocks[s * table.width + b];
                if (block < 0 || block >= group.units) {
                    throw ProgramError(where + ": block " + std::to_string(block) + " of sequence " + std::to_string(s) + " is outside the " +
                                       std::to_string(group.units) + " allocated");
                }
            }
        }
    }
}

// The arena holds the scratch memory that the neediest instruction wants, then the planned buffers.
void Program::place_buffers(const std::vector<char*>& given) {
    std::int64_t bytes = 0;
    for (const Instruction& instruction : instructions_) {
        if (instruction.scratch) bytes = std::max(bytes, aligned(instruction.scratch(frame_)));
    }
    offsets_.resize(planned_.size());
    for (std::size_t b = 0; b < planned_.size(); ++b) {
        offsets_[b] = bytes;
        std::int64_t largest = 0;
        for (const Size& size : planned_[b]) largest = std::max(largest, frame_.size(size));
        bytes += aligned(4 * largest);
    }
    char* arena = runtime_->reserve(bytes);
    frame_.scratch = arena;
    frame_.buffers.clear();
    for (const std::int64_t offset : offsets_) frame_.buffers.push_back(arena + offset);
    frame_.buffers.insert(frame_.buffers.end(), given.begin(), given.end());
}

}  // namespace heron
