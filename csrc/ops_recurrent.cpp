// Recurrent mixers, whose state lies in slots. Meanings: heron/backends/reference/recurrent.py.
#include "ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace heron {
namespace {

constexpr std::int64_t BLOCK = 4096;     // numbers of state that a thread advances at a time: they stay in the nearest cache
constexpr std::int64_t DELTA_STRIP = 64;  // columns of a delta rule's state that a thread advances at a time
constexpr int EXP_COST = 8;              // arithmetic of an exponential, beside that of an addition

std::int64_t aligned(std::int64_t floats) { return (floats + 15) / 16 * 16; }

const StateField& field_of(const Frame& f, std::size_t index) {
    const StateField& field = f.runtime.fields[index];
    if (field.storage != Storage::f32) throw ProgramError("the states of recurrences are stored as f32");
    return field;
}

float* slot_of(const StateField& field, std::int32_t slot) { return reinterpret_cast<float*>(field.data + slot * field.bytes); }

// Calls use(slot) for each slot that receives sequence s's state after `count` of its tokens.
template <class Use>
void due(const Batch& batch, std::int64_t s, std::int64_t count, const Use& use) {
    for (std::int64_t j = s * batch.slot_writes; j < (s + 1) * batch.slot_writes; ++j) {
        if (batch.slot_write[j] > 0 && batch.slot_offset[j] == count) use(batch.slot_write[j]);
    }
}

// After how many of its tokens sequence s's state is due next, or `end`.
std::int64_t next_due(const Batch& batch, std::int64_t s, std::int64_t count, std::int64_t end) {
    for (std::int64_t j = s * batch.slot_writes; j < (s + 1) * batch.slot_writes; ++j) {
        if (batch.slot_write[j] > 0 && batch.slot_offset[j] > count) end = std::min<std::int64_t>(end, batch.slot_offset[j]);
    }
    return end;
}

// Copies n numbers of each row; rows lie `stride` apart.
void copy_rows(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t n) {
    if (to_stride == n && from_stride == n) n *= std::exchange(rows, 1);
    for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_stride, from + r * from_stride, static_cast<std::size_t>(n) * sizeof(float));
}

// What a thread advances: heads [first, last) of a state, and of each of their rows columns [left, right).
struct Part {
    std::int64_t first, last, left, right;
};

// A state [heads, rows, columns] in which each head goes its own way, and each strip of columns too.
struct Recurrence {
    std::size_t field;
    std::int64_t heads, rows, columns, strip;
    int cost = 1;  // of advancing one number of the state

    // A block for each thread, and states that are read too late where they lie, since another sequence writes there.
    std::int64_t scratch(const Frame& f) const {
        const std::int64_t staged = std::count(f.crossed.begin(), f.crossed.end(), 1);
        return static_cast<std::int64_t>(sizeof(float)) * (f.pool.size() * room(f) + staged * heads * rows * columns);
    }

    // Calls advance(state, part, token, count) for parts of the state, a sequence's tokens in their order.
    // The state is dense: [last - first, rows, right - left].
    template <class Advance>
    void run(Frame& f, const Advance& advance) const {
        const StateField& stored = field_of(f, field);
        const std::vector<const float*> sources = read(f, stored);
        const std::int64_t sequences = f.symbols[SEQUENCES], each = block(f), blocks = (heads + each - 1) / each, strips = (columns + strip - 1) / strip;
        const std::int64_t work = each * rows * strip * cost * std::max<std::int64_t>(1, f.symbols[TOKENS] / std::max<std::int64_t>(1, sequences));
        f.pool.ranges(sequences * blocks * strips, std::max<std::int64_t>(1, Frame::GRAIN / work), [&](std::int64_t begin, std::int64_t end, int worker) {
            float* state = reinterpret_cast<float*>(f.scratch) + worker * room(f);
            for (std::int64_t i = begin; i < end; ++i) {
                const std::int64_t s = i / (blocks * strips), first = i / strips % blocks * each, left = i % strips * strip;
                const Part part{first, std::min(heads, first + each), left, std::min(columns, left + strip)};
                advance_part(f, stored, state, sources[static_cast<std::size_t>(s)], s, part, advance);
            }
        });
    }

private:
    // Heads that a thread advances at a time.
    std::int64_t block(const Frame& f) const { return std::clamp<std::int64_t>(std::min(BLOCK / (rows * strip), heads / f.pool.size()), 1, heads); }

    std::int64_t room(const Frame& f) const { return aligned(block(f) * rows * strip); }

    // Where each sequence's state lies before the step; null where it begins anew.
    std::vector<const float*> read(const Frame& f, const StateField& stored) const {
        const std::int64_t size = heads * rows * columns;
        float* staged = reinterpret_cast<float*>(f.scratch) + f.pool.size() * room(f);
        std::vector<const float*> sources;
        for (std::size_t s = 0; s < f.crossed.size(); ++s) {
            const std::int32_t slot = f.batch.slot_read[s];
            sources.push_back(slot ? slot_of(stored, slot) : nullptr);
            if (!f.crossed[s]) continue;
            copy_rows(staged, size, sources.back(), size, 1, size);
            sources.back() = staged;
            staged += size;
        }
        return sources;
    }

    template <class Advance>
    void advance_part(const Frame& f, const StateField& stored, float* state, const float* source, std::int64_t s, const Part& part,
                      const Advance& advance) const {
        const std::int64_t width = part.right - part.left, lines = (part.last - part.first) * rows, at = part.first * rows * columns + part.left;
        const auto save = [&](std::int32_t slot) { copy_rows(slot_of(stored, slot) + at, columns, state, width, lines, width); };
        if (source) {
            copy_rows(state, width, source + at, columns, lines, width);
        } else {
            std::fill_n(state, lines * width, 0.0f);
        }
        const std::int64_t begin = f.batch.query_start[s], end = f.batch.query_start[s + 1] - begin;
        due(f.batch, s, 0, save);
        for (std::int64_t count = 0, next; count < end; count = next) {
            next = next_due(f.batch, s, count, end);
            advance(state, part, begin + count, next - count);
            due(f.batch, s, next, save);
        }
    }
};

Instruction selective_scan(const Node& node, Shared&) {
    const Value x = node.inputs[0], step = node.inputs[1], write = node.inputs[2], read = node.inputs[3], y = node.outputs[0];
    const WeightPtr rate = weight_of(node, 0);
    const std::int64_t heads = rate->shape[0], rates = rate->shape[1], channels = x.columns(), numbers = write.columns();
    const std::int64_t groups = write.shape[1].constant, share = heads / groups;
    const Recurrence recurrence{static_cast<std::size_t>(node.fields[0]), heads, channels, numbers, numbers, rates > 1 ? EXP_COST : 1};
    return {[=](Frame& f) {
        const float *values = f.f32(x), *steps = f.f32(step), *writes = f.f32(write), *reads = f.f32(read), *by = rate->values.data();
        float* to = f.f32(y);
        recurrence.run(f, [&](float* state, const Part& part, std::int64_t token, std::int64_t count) {
            for (std::int64_t t = token; t < token + count; t += SCAN_TOKENS) {
                for (std::int64_t h = part.first, end; h < part.last; h = end) {  // heads that read one group
                    end = std::min(part.last, (h / share + 1) * share);
                    const std::int64_t at = t * heads + h, group = (t * groups + h / share) * numbers;
                    const Scan scan{to + at * channels, values + at * channels, steps + at, by + h * rates, writes + group, reads + group,
                                    heads * channels, heads, groups * numbers, end - h, channels, numbers, rates};
                    f.kernels.selective_scan(scan, state + (h - part.first) * channels * numbers,
                                             static_cast<int>(std::min<std::int64_t>(SCAN_TOKENS, token + count - t)));
                }
            }
        });
    }, [=](const Frame& f) { return recurrence.scratch(f); }};
}

Instruction delta_rule(const Node& node, Shared&) {
    const Value q = node.inputs[0], k = node.inputs[1], v = node.inputs[2], decay = node.inputs[3], beta = node.inputs[4], y = node.outputs[0];
    const std::int64_t key_heads = q.shape[1].constant, heads = v.shape[1].constant, share = heads / key_heads;
    const std::int64_t keys = q.columns(), values = v.columns();
    const Recurrence recurrence{static_cast<std::size_t>(node.fields[0]), heads, keys, values, std::min(values, DELTA_STRIP)};
    return {[=](Frame& f) {
        const float *queries = f.f32(q), *by = f.f32(k), *given = f.f32(v), *decays = f.f32(decay), *betas = f.f32(beta);
        float* to = f.f32(y);
        recurrence.run(f, [&](float* state, const Part& part, std::int64_t token, std::int64_t count) {
            const std::int64_t width = part.right - part.left;
            for (std::int64_t h = part.first; h < part.last; ++h, state += keys * width) {
                for (std::int64_t t = token; t < token + count; ++t) {
                    const std::int64_t head = t * heads + h, key = (t * key_heads + h / share) * keys, value = head * values + part.left;
                    f.kernels.delta_rule(to + value, state, queries + key, by + key, given + value, decays[head], betas[head], keys, width);
                }
            }
        });
    }, [=](const Frame& f) { return recurrence.scratch(f); }};
}

// The state is the last tokens' values, so a token's result needs only its own and theirs.
Instruction causal_conv(const Node& node, Shared&) {
    const Value x = node.inputs[0], y = node.outputs[0];
    const WeightPtr weight = weight_of(node, 0), bias = weight_of(node, 1);
    const auto field = static_cast<std::size_t>(node.fields[0]);
    const std::int64_t n = weight->shape[0], count = weight->shape[1], window = (count - 1) * n;
    const auto taps = std::make_shared<std::vector<float>>(static_cast<std::size_t>(count * n));  // [count, n]
    for (std::int64_t i = 0; i < count * n; ++i) (*taps)[static_cast<std::size_t>(i % count * n + i / count)] = weight->values[static_cast<std::size_t>(i)];
    return {[=](Frame& f) {
        const StateField& stored = field_of(f, field);
        const std::int64_t sequences = f.symbols[SEQUENCES];
        const float* from = f.f32(x);
        float *to = f.f32(y), *before = reinterpret_cast<float*>(f.scratch);
        // All windows are read before any is written.
        for (std::int64_t s = 0; s < sequences; ++s) {
            if (const std::int32_t slot = f.batch.slot_read[s]) {
                std::memcpy(before + s * window, slot_of(stored, slot), static_cast<std::size_t>(window) * sizeof(float));
            } else {
                std::fill_n(before + s * window, window, 0.0f);
            }
        }
        // The values of sequence s at `place` in this step; places before its first token are negative.
        const auto row = [&](std::int64_t s, std::int64_t place) {
            return place < 0 ? before + (s + 1) * window + place * n : from + (f.batch.query_start[s] + place) * n;
        };
        f.by_rows(f.symbols[TOKENS], n * count, [&](std::int64_t begin, std::int64_t end) {
            std::vector<const float*> rows(static_cast<std::size_t>(count));
            for (std::int64_t t = begin; t < end; ++t) {
                const std::int64_t s = f.sequence[static_cast<std::size_t>(t)], place = t - f.batch.query_start[s];
                for (std::int64_t i = 0; i < count; ++i) rows[static_cast<std::size_t>(i)] = row(s, place - count + 1 + i);
                f.kernels.convolve(to + t * n, rows.data(), taps->data(), bias ? bias->values.data() : nullptr, static_cast<int>(count), n);
            }
        });
        for (std::int64_t s = 0; s < sequences; ++s) {
            for (std::int64_t tokens = 0; tokens <= f.batch.query_start[s + 1] - f.batch.query_start[s]; ++tokens) {
                due(f.batch, s, tokens, [&](std::int32_t slot) {
                    for (std::int64_t i = 0; i < count - 1; ++i) {
                        std::memcpy(slot_of(stored, slot) + i * n, row(s, tokens - count + 1 + i), static_cast<std::size_t>(n) * sizeof(float));
                    }
                });
            }
        }
    }, [=](const Frame& f) { return f.symbols[SEQUENCES] * window * static_cast<std::int64_t>(sizeof(float)); }};
}

}  // namespace

void add_recurrent_kernels(Kernels& table) {
    table["causal_conv"] = causal_conv;
    table["selective_scan"] = selective_scan;
    table["delta_rule"] = delta_rule;
}

}  // namespace heron
