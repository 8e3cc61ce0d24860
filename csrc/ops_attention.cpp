// Writing keys and values to the paged cache, and attending to them. Meanings: heron/backends/reference/attention.py.
//
// The keys of a sequence are cut at absolute places into spans of SPAN. Each span gives a partial softmax, and the
// partial ones are merged in order: so an answer depends neither on the step's other tokens nor on the threads. A
// work item is a tile of neighbouring tokens and the query heads that share one head of keys.
#include <cstring>
#include <limits>

#include "ops.h"

namespace heron {
namespace {

constexpr std::int64_t SPAN = 256;       // keys
constexpr std::int64_t TILE_ROWS = 64;   // queries (tokens x heads) that share the loads of keys and values
constexpr std::int64_t ITEMS_A_THREAD = 4;  // with fewer work items than this, spans of one are computed in parallel

std::int64_t stored_bytes(Storage storage, std::int64_t n) {
    switch (storage) {
        case Storage::f16: return 2 * n;
        case Storage::q8_0: return n / Q8_BLOCK * Q8_BYTES;
        default: return 4 * n;
    }
}

// One field of keys or values: rows by entry and head.
struct Stored {
    Storage storage;
    const char* data;
    std::int64_t entry_bytes, row_bytes;

    const void* row(std::int64_t entry, std::int64_t head) const { return data + entry * entry_bytes + head * row_bytes; }
};

void write_rows(const Frame& f, const Field& field, const Value& x) {
    const Group& group = f.runtime.groups[static_cast<std::size_t>(field.group)];
    const Table& table = f.batch.tables[static_cast<std::size_t>(field.group)];
    const std::int64_t tokens = f.symbols[TOKENS], n = tokens ? f.elements(x) / tokens : 0;
    const float* from = f.f32(x);
    f.by_rows(tokens, n, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
            const std::int64_t s = f.sequence[static_cast<std::size_t>(t)], place = f.place[static_cast<std::size_t>(t)];
            const std::int64_t block = table.blocks[s * table.width + place / group.block_size - (table.start ? table.start[s] : 0)];
            f.kernels.encode(field.storage, field.data + (block * group.block_size + place % group.block_size) * field.bytes, from + t * n, n);
        }
    });
}

// Tokens [first, first + count) of sequence s.
struct Tile {
    std::int32_t s, first, count;
};

// What one item or span of an item works in. Rows are (token of the tile, query head), in this order.
struct Workspace {
    std::int64_t* entry;  // [SPAN] where the span's keys are stored
    float *keys, *values, *score, *q;
    float *largest, *total, *acc;                 // of the spans so far
    float *part_largest, *part_total, *part_acc;  // of one span
    int *low, *high;                              // [rows] the keys of one span that each row sees, counted from the first that any does

    static std::int64_t floats(std::int64_t rows, std::int64_t dim, std::int64_t value_dim) {
        return (2 * SPAN + CHUNK * (dim + value_dim) + rows * (SPAN + dim + 2 * value_dim + 6) + 15) / 16 * 16;
    }
    Workspace(float* at, std::int64_t rows, std::int64_t dim, std::int64_t value_dim) {
        const auto next = [&](std::int64_t n) {
            float* here = at;
            at += n;
            return here;
        };
        entry = reinterpret_cast<std::int64_t*>(next(2 * SPAN));
        keys = next(CHUNK * dim), values = next(CHUNK * value_dim), score = next(rows * SPAN), q = next(rows * dim);
        acc = next(rows * value_dim), part_acc = next(rows * value_dim);
        largest = next(rows), total = next(rows), part_largest = next(rows), part_total = next(rows);
        low = reinterpret_cast<int*>(next(rows)), high = reinterpret_cast<int*>(next(rows));
    }
};

// A node's attention. A step makes a copy, fills in what the step knows, and runs it.
struct Attention {
    Value query, output, key, value;  // the last two only where no state is read
    int key_field = -1, value_field = -1;
    float scale, softcap;
    bool causal;
    std::int64_t window;
    WeightPtr sinks;

    std::int64_t dim() const { return query.columns(); }
    std::int64_t value_dim() const { return output.columns(); }
};

class Attending {
public:
    Attending(const Attention& a, const Frame& f) : a_(a), f_(f), dim_(a.dim()), value_dim_(a.value_dim()) {
        heads_ = f.size(a.query.shape[1]);
        if (a.key_field >= 0) {
            const Field &keys = field(a.key_field), &values = field(a.value_field);
            group_ = &f.runtime.groups[static_cast<std::size_t>(keys.group)];
            table_ = &f.batch.tables[static_cast<std::size_t>(keys.group)];
            keys_ = {keys.storage, keys.data, keys.bytes, stored_bytes(keys.storage, dim_)};
            values_ = {values.storage, values.data, values.bytes, stored_bytes(values.storage, value_dim_)};
        } else {
            const std::int64_t shared = f.size(a.key.shape[1]);
            keys_ = {Storage::f32, reinterpret_cast<const char*>(f.f32(a.key)), shared * dim_ * 4, dim_ * 4};
            values_ = {Storage::f32, reinterpret_cast<const char*>(f.f32(a.value)), shared * value_dim_ * 4, value_dim_ * 4};
        }
        key_heads_ = keys_.entry_bytes / keys_.row_bytes;
        share_ = heads_ / key_heads_;
        tile_tokens_ = std::max<std::int64_t>(1, TILE_ROWS / share_);
        for (std::int64_t s = 0; s < f.symbols[SEQUENCES]; ++s) {
            longest_context_ = std::max(longest_context_, context(s));
            rows_ = std::max(rows_, std::min(tile_tokens_, length(s)) * share_);
            tile_count_ += (length(s) + tile_tokens_ - 1) / tile_tokens_;
        }
        spans_ = (longest_context_ + SPAN - 1) / SPAN;
        spans_apart_ = spans_ > 1 && tile_count_ * key_heads_ < ITEMS_A_THREAD * f.pool.size();
    }

    std::int64_t scratch() const {
        const std::int64_t workspaces = f_.pool.size() * Workspace::floats(rows_, dim_, value_dim_);
        const std::int64_t partials = spans_apart_ ? tile_count_ * key_heads_ * spans_ * rows_ * (value_dim_ + 2) : 0;
        return tile_bytes() + (workspaces + partials) * 4;
    }

    void run() {
        lay_tiles();
        const std::int64_t items = tile_count_ * key_heads_;
        const std::int64_t cost = std::max<std::int64_t>(1, (dim_ + value_dim_) * std::min(SPAN * spans_, longest_context_) * (4 + rows_) / 16);
        const std::int64_t grain = std::max<std::int64_t>(1, Frame::GRAIN / cost);
        if (!spans_apart_) {
            f_.pool.ranges(items, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
                for (std::int64_t i = begin; i < end; ++i) whole_item(items - 1 - i, worker);  // the latest tokens first: they see most
            });
            return;
        }
        f_.pool.ranges(items * spans_, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t i = begin; i < end; ++i) one_span(i / spans_, i % spans_, worker);
        });
        f_.pool.ranges(items, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t item = begin; item < end; ++item) merge_spans(item, worker);
        });
    }

private:
    const Field& field(int i) const { return f_.runtime.fields[static_cast<std::size_t>(i)]; }
    std::int64_t length(std::int64_t s) const { return f_.batch.query_start[s + 1] - f_.batch.query_start[s]; }
    std::int64_t before(std::int64_t s) const { return f_.batch.context_len[s] - length(s); }
    // Keys of sequence s have places in [first_key, context).
    std::int64_t context(std::int64_t s) const { return group_ && group_->cross ? f_.batch.cross_len[s] : f_.batch.context_len[s]; }
    std::int64_t first_key(std::int64_t s) const { return group_ ? 0 : before(s); }

    std::int64_t tile_bytes() const { return (tile_count_ * static_cast<std::int64_t>(sizeof(Tile)) + 63) / 64 * 64; }

    void lay_tiles() {
        tiles_ = reinterpret_cast<Tile*>(f_.scratch);
        workspaces_ = reinterpret_cast<float*>(f_.scratch + tile_bytes());
        partials_ = workspaces_ + f_.pool.size() * Workspace::floats(rows_, dim_, value_dim_);
        Tile* next = tiles_;
        for (std::int64_t s = 0; s < f_.symbols[SEQUENCES]; ++s) {
            for (std::int64_t t = 0; t < length(s); t += tile_tokens_) {
                const std::int64_t count = std::min(tile_tokens_, length(s) - t);
                *next++ = {static_cast<std::int32_t>(s), static_cast<std::int32_t>(f_.batch.query_start[s] + t), static_cast<std::int32_t>(count)};
            }
        }
    }

    Workspace workspace(int worker) const { return {workspaces_ + worker * Workspace::floats(rows_, dim_, value_dim_), rows_, dim_, value_dim_}; }

    // The keys that token t may see, before a tree of drafts is considered: places [first, second).
    std::pair<std::int64_t, std::int64_t> seen(std::int64_t t, std::int64_t s) const {
        const std::int64_t place = f_.place[static_cast<std::size_t>(t)];
        std::int64_t first = first_key(s), last = context(s);
        if (f_.batch.parents) {
            if (a_.window) first = std::max(first, std::min(before(s), depth(t, s) - a_.window + 1));
            return {first, last};
        }
        if (a_.causal) last = std::min(last, place + 1);
        if (a_.window) {
            first = std::max(first, place - a_.window + 1);
            if (!a_.causal) last = std::min(last, place + a_.window);
        }
        return {first, std::max(first, last)};
    }

    std::int64_t depth(std::int64_t t, std::int64_t s) const {
        std::int64_t d = before(s) - 1;
        for (std::int64_t node = t; node >= 0; node = f_.batch.parents[node]) ++d;
        return d;
    }

    // Of a row of scores whose first column is the key at `begin`: drafts that are not among t's nearest `window` ancestors are unseen.
    void hide_other_branches(float* score, std::int64_t t, std::int64_t s, std::int64_t begin, std::int64_t end) const {
        std::int64_t step = 0, node = t;
        for (std::int64_t key = end - 1; key >= std::max(begin, before(s)); --key) {
            const std::int64_t token = f_.batch.query_start[s] + key - before(s);
            while (node > token) node = f_.batch.parents[node], ++step;
            if (node != token || (a_.window && step >= a_.window)) score[key - begin] = -std::numeric_limits<float>::infinity();
        }
    }

    // The keys that any token of the tile may see.
    std::pair<std::int64_t, std::int64_t> seen_by(const Tile& tile) const {
        std::int64_t first = std::numeric_limits<std::int64_t>::max(), last = 0;
        for (std::int64_t t = tile.first; t < tile.first + tile.count; ++t) {
            const auto [from, to] = seen(t, tile.s);
            first = std::min(first, from);
            last = std::max(last, to);
        }
        return {first, last};
    }

    void load_queries(const Tile& tile, std::int64_t head, float* q) const {
        for (std::int64_t i = 0; i < tile.count; ++i) {
            const float* from = f_.f32(a_.query) + ((tile.first + i) * heads_ + head * share_) * dim_;
            std::memcpy(q + i * share_ * dim_, from, static_cast<std::size_t>(share_ * dim_) * sizeof(float));
        }
    }

    // Where the keys at places [begin, end) of sequence s are stored.
    void find_entries(std::int64_t s, std::int64_t begin, std::int64_t end, std::int64_t* entry) const {
        if (!group_) {
            for (std::int64_t key = begin; key < end; ++key) *entry++ = f_.batch.query_start[s] + key - before(s);
            return;
        }
        const std::int64_t size = group_->block_size, start = table_->start ? table_->start[s] : 0;
        if (begin / size < start) throw ProgramError("group " + group_->name + ": a block that the window still needs was given back");
        const std::int32_t* block = table_->blocks + s * table_->width + begin / size - start;
        std::int64_t offset = begin % size;
        for (std::int64_t key = begin; key < end; ++key) {
            *entry++ = *block * size + offset;
            if (++offset == size) offset = 0, ++block;
        }
    }

    // The softmax of the tile's rows over the keys of one span: to largest, total and acc.
    void attend_span(const Tile& tile, std::int64_t head, std::int64_t span, const Workspace& w, float* largest, float* total, float* acc) const {
        const std::int64_t rows = tile.count * share_;
        const auto [first, last] = seen_by(tile);
        const std::int64_t begin = std::max(first, span * SPAN), end = std::min(last, (span + 1) * SPAN), n = std::max<std::int64_t>(0, end - begin);
        std::fill(acc, acc + rows * value_dim_, 0.0f);
        if (n > 0) find_entries(tile.s, begin, end, w.entry);
        const void* stored[CHUNK];
        for (std::int64_t at = 0; at < n; at += CHUNK) {
            const int count = static_cast<int>(std::min<std::int64_t>(CHUNK, n - at));
            for (int i = 0; i < count; ++i) stored[i] = keys_.row(w.entry[at + i], head);
            f_.kernels.load_keys(keys_.storage, w.keys, stored, count, static_cast<int>(dim_));
            f_.kernels.scores(w.score + at, SPAN, w.q, static_cast<int>(rows), w.keys, count, static_cast<int>(dim_), a_.scale, a_.softcap);
        }
        for (std::int64_t row = 0; row < rows; ++row) {
            const std::int64_t t = tile.first + row / share_;
            const auto [from, to] = seen(t, tile.s);
            float* score = w.score + row * SPAN;
            if (f_.batch.parents) hide_other_branches(score, t, tile.s, begin, end);
            w.low[row] = static_cast<int>(std::clamp<std::int64_t>(from - begin, 0, n));
            w.high[row] = static_cast<int>(std::clamp<std::int64_t>(to - begin, w.low[row], n));
            f_.kernels.exponentiate(score, w.low[row], w.high[row], static_cast<int>(n), largest + row, total + row);
        }
        for (std::int64_t at = 0; at < n; at += CHUNK) {
            const int count = static_cast<int>(std::min<std::int64_t>(CHUNK, n - at));
            for (int i = 0; i < count; ++i) stored[i] = values_.row(w.entry[at + i], head);
            f_.kernels.load_values(values_.storage, w.values, stored, count, static_cast<int>(value_dim_));
            f_.kernels.accumulate(acc, w.score + at, SPAN, static_cast<int>(rows), w.values, count, static_cast<int>(value_dim_), w.low, w.high,
                                  static_cast<int>(at));
        }
    }

    void begin_rows(const Workspace& w, std::int64_t rows) const {
        std::fill(w.largest, w.largest + rows, -std::numeric_limits<float>::infinity());
        std::fill(w.total, w.total + rows, 0.0f);
        std::fill(w.acc, w.acc + rows * value_dim_, 0.0f);
    }

    void merge_rows(const Workspace& w, std::int64_t rows, const float* largest, const float* total, const float* part) const {
        for (std::int64_t row = 0; row < rows; ++row) {
            f_.kernels.merge(w.largest + row, w.total + row, w.acc + row * value_dim_, largest[row], total[row], part + row * value_dim_,
                             static_cast<int>(value_dim_));
        }
    }

    void finish_rows(const Tile& tile, std::int64_t head, const Workspace& w) const {
        for (std::int64_t row = 0; row < tile.count * share_; ++row) {
            const std::int64_t query_head = head * share_ + row % share_;
            float* acc = w.acc + row * value_dim_;
            if (a_.sinks) {
                std::fill(w.part_acc, w.part_acc + value_dim_, 0.0f);
                f_.kernels.merge(w.largest + row, w.total + row, acc, a_.sinks->values[static_cast<std::size_t>(query_head)], 1.0f, w.part_acc,
                                 static_cast<int>(value_dim_));
            }
            float* out = f_.f32(a_.output) + ((tile.first + row / share_) * heads_ + query_head) * value_dim_;
            f_.kernels.mul_scalar(out, acc, 1.0f / w.total[row], value_dim_);
        }
    }

    void whole_item(std::int64_t item, int worker) const {
        const Tile& tile = tiles_[item / key_heads_];
        const std::int64_t head = item % key_heads_, rows = tile.count * share_;
        const Workspace w = workspace(worker);
        load_queries(tile, head, w.q);
        begin_rows(w, rows);
        const auto [first, last] = seen_by(tile);
        for (std::int64_t span = first / SPAN; span * SPAN < last; ++span) {
            attend_span(tile, head, span, w, w.part_largest, w.part_total, w.part_acc);
            merge_rows(w, rows, w.part_largest, w.part_total, w.part_acc);
        }
        finish_rows(tile, head, w);
    }

    float* partial(std::int64_t item, std::int64_t span) const { return partials_ + (item * spans_ + span) * rows_ * (value_dim_ + 2); }

    void one_span(std::int64_t item, std::int64_t span, int worker) const {
        const Tile& tile = tiles_[item / key_heads_];
        const std::int64_t head = item % key_heads_;
        const auto [first, last] = seen_by(tile);
        if (span < first / SPAN || span * SPAN >= last) return;
        const Workspace w = workspace(worker);
        load_queries(tile, head, w.q);
        float* to = partial(item, span);
        attend_span(tile, head, span, w, to, to + rows_, to + 2 * rows_);
    }

    void merge_spans(std::int64_t item, int worker) const {
        const Tile& tile = tiles_[item / key_heads_];
        const std::int64_t rows = tile.count * share_;
        const Workspace w = workspace(worker);
        begin_rows(w, rows);
        const auto [first, last] = seen_by(tile);
        for (std::int64_t span = first / SPAN; span * SPAN < last; ++span) {
            const float* from = partial(item, span);
            merge_rows(w, rows, from, from + rows_, from + 2 * rows_);
        }
        finish_rows(tile, item % key_heads_, w);
    }

    const Attention& a_;
    const Frame& f_;
    std::int64_t dim_, value_dim_, heads_ = 0, key_heads_ = 0, share_ = 0;
    std::int64_t tile_tokens_ = 0, tile_count_ = 0, rows_ = 0;  // rows_ is the most that a tile has
    std::int64_t longest_context_ = 0, spans_ = 0;
    bool spans_apart_ = false;
    const Group* group_ = nullptr;
    const Table* table_ = nullptr;
    Stored keys_{}, values_{};
    Tile* tiles_ = nullptr;
    float *workspaces_ = nullptr, *partials_ = nullptr;
};


Attention attention_of(const Node& node) {
    const Attributes& with = node.attributes;
    Attention a;
    a.query = node.inputs[0], a.output = node.outputs[0];
    a.scale = static_cast<float>(with.number("scale"));
    a.softcap = static_cast<float>(with.number("softcap"));
    a.causal = with.number("causal") != 0;
    a.window = static_cast<std::int64_t>(with.number("window"));
    a.sinks = weight_of(node, 0);
    if (node.fields.empty()) {
        a.key = node.inputs[1], a.value = node.inputs[2];
    } else {
        a.key_field = node.fields[0], a.value_field = node.fields[1];
    }
    return a;
}

Instruction attend(const Node& node, Shared&) {
    const Attention a = attention_of(node);
    return {[=](Frame& f) { Attending(a, f).run(); }, [=](const Frame& f) { return Attending(a, f).scratch(); }};
}

Instruction kv_write(const Node& node, Shared&) {
    const Value key = node.inputs[node.inputs.size() - 2], value = node.inputs.back();
    const auto key_field = static_cast<std::size_t>(node.fields[0]), value_field = static_cast<std::size_t>(node.fields[1]);
    return {[=](Frame& f) {
        write_rows(f, f.runtime.fields[key_field], key);
        write_rows(f, f.runtime.fields[value_field], value);
    }, {}};
}

// Fused: this step's keys and values are written, then read as they are stored.
Instruction attention(const Node& node, Shared& shared) {
    const Instruction write = kv_write(node, shared), read = attend(node, shared);
    return {[=](Frame& f) {
        write.run(f);
        read.run(f);
    }, read.scratch};
}

}  // namespace

void add_attention_kernels(Kernels& table) {
    table["kv_write"] = kv_write;
    table["attend"] = attend;
    table["attention"] = attention;
}

}  // namespace heron
