#include "attending.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace heron {
namespace {

constexpr float NOTHING = -std::numeric_limits<float>::infinity();

std::int64_t stored_bytes(Storage storage, std::int64_t n) {
    switch (storage) {
        case Storage::f16: return 2 * n;
        case Storage::q8_0: return n / Q8_BLOCK * Q8_BYTES;
        default: return 4 * n;
    }
}

}  // namespace

Attending::Attending(const Attention& attention, const Frame& frame)
    : a_(attention), f_(frame), dim_(a_.dim + a_.rest_dim), value_dim_(a_.value_dim), heads_(a_.heads) {
    if (a_.key_field >= 0) {
        const int group = f_.runtime.fields[static_cast<std::size_t>(a_.key_field)].group;
        group_ = &f_.runtime.groups[static_cast<std::size_t>(group)];
        table_ = &f_.batch.tables[static_cast<std::size_t>(group)];
        keys_ = stored(a_.key_field, a_.dim), values_ = stored(a_.value_field, value_dim_);
        if (a_.rest_field >= 0) rest_ = stored(a_.rest_field, a_.rest_dim);
    } else {  // run() is told where they lie
        keys_ = {Storage::f32, nullptr, a_.key_heads * dim_ * 4, dim_ * 4, static_cast<int>(dim_)};
        values_ = {Storage::f32, nullptr, a_.key_heads * value_dim_ * 4, value_dim_ * 4, static_cast<int>(value_dim_)};
    }
    if ((a_.slopes || a_.reach) && f_.batch.parents) throw ProgramError("attention by distance cannot follow a tree of drafts");
    key_heads_ = keys_.entry_bytes / keys_.row_bytes;
    share_ = heads_ / key_heads_;
    tile_tokens_ = std::clamp<std::int64_t>(TILE_FLOATS / (row_floats() * share_), 1, TILE_TOKENS);
    std::int64_t longest = 0;
    for (std::int64_t s = 0; s < f_.symbols[SEQUENCES]; ++s) {
        longest_context_ = std::max(longest_context_, context(s));
        longest = std::max(longest, length(s));
        tiles_ += (length(s) + tile_tokens_ - 1) / tile_tokens_;
    }
    spans_ = (longest_context_ + SPAN - 1) / SPAN;
    cut_heads();
    rows_ = std::min(tile_tokens_, longest) * share_;
    choose_bundle();
}

Attending::Stored Attending::stored(int field, std::int64_t dim) const {
    const StateField& at = f_.runtime.fields[static_cast<std::size_t>(field)];
    return {at.storage, at.data, at.bytes, stored_bytes(at.storage, dim), static_cast<int>(dim)};
}

// Where there are fewer items than threads, the query heads that share a key are divided among them.
void Attending::cut_heads() {
    std::int64_t parts = 1;
    while (tiles_ * key_heads_ * spans_ * parts < f_.pool.size() && share_ % (2 * parts) == 0 && share_ / (2 * parts) >= LEAST_SHARE) parts *= 2;
    cut_ = parts;
    key_heads_ *= parts;
    share_ /= parts;
}

// As many key heads to an item as leave enough items for the threads.
void Attending::choose_bundle() {
    const std::int64_t wanted = f_.pool.size() > 1 ? ITEMS_A_THREAD * f_.pool.size() : 1;
    for (std::int64_t n = 2; n <= key_heads_; ++n) {
        const bool enough = tiles_ * (key_heads_ / n) * spans_ >= wanted;
        if (key_heads_ % n == 0 && n * rows_ * row_floats() <= TILE_FLOATS && enough) bundle_ = n;
    }
    rows_ *= bundle_;
    items_ = tiles_ * (key_heads_ / bundle_);
    spans_apart_ = spans_ > 1 && items_ < wanted;
}

std::int64_t Attending::length(std::int64_t s) const { return f_.batch.query_start[s + 1] - f_.batch.query_start[s]; }
std::int64_t Attending::before(std::int64_t s) const { return f_.batch.context_len[s] - length(s); }
std::int64_t Attending::context(std::int64_t s) const { return group_ && group_->kind == Addressing::cross ? f_.batch.cross_len[s] : f_.batch.context_len[s]; }

// Memory: the tiles, a workspace for each thread, and where spans are apart, a partial result for each span of each item.

std::int64_t Attending::tile_bytes() const { return (tiles_ * static_cast<std::int64_t>(sizeof(Tile)) + 63) / 64 * 64; }

std::int64_t Attending::workspace_floats() const {
    return (2 * SPAN + CHUNK * (dim_ + value_dim_) + rows_ * row_floats() + 15) / 16 * 16;
}

std::int64_t Attending::scratch() const {
    const std::int64_t partials = spans_apart_ ? items_ * spans_ * rows_ * (value_dim_ + 2) : 0;
    return tile_bytes() + (f_.pool.size() * workspace_floats() + partials) * 4;
}

Attending::Workspace Attending::workspace(int worker) const {
    float* at = workspaces_ + worker * workspace_floats();
    const auto next = [&](std::int64_t n) {
        float* here = at;
        at += n;
        return here;
    };
    Workspace w;
    w.entry = reinterpret_cast<std::int64_t*>(next(2 * SPAN));
    w.keys = next(CHUNK * dim_), w.values = next(CHUNK * value_dim_), w.score = next(rows_ * STRIDE), w.q = next(rows_ * dim_);
    w.acc = next(rows_ * value_dim_), w.part_acc = next(rows_ * value_dim_);
    w.largest = next(rows_), w.total = next(rows_), w.part_largest = next(rows_), w.part_total = next(rows_);
    w.low = reinterpret_cast<int*>(next(rows_)), w.high = reinterpret_cast<int*>(next(rows_));
    return w;
}

float* Attending::partial(std::int64_t i, std::int64_t span) const { return partials_ + (i * spans_ + span) * rows_ * (value_dim_ + 2); }

void Attending::lay_tiles() {
    tile_ = reinterpret_cast<Tile*>(at_.scratch);
    workspaces_ = reinterpret_cast<float*>(at_.scratch + tile_bytes());
    partials_ = workspaces_ + f_.pool.size() * workspace_floats();
    Tile* next = tile_;
    for (std::int64_t s = 0; s < f_.symbols[SEQUENCES]; ++s) {
        for (std::int64_t t = 0; t < length(s); t += tile_tokens_) {
            const std::int64_t count = std::min(tile_tokens_, length(s) - t);
            *next++ = {static_cast<std::int32_t>(s), static_cast<std::int32_t>(f_.batch.query_start[s] + t), static_cast<std::int32_t>(count)};
        }
    }
}

Attending::Item Attending::item(std::int64_t i) const {
    const std::int64_t bundles = key_heads_ / bundle_;
    const Tile& tile = tile_[i / bundles];
    return {tile, i % bundles * bundle_, tile.count * share_, tile.count * share_ * bundle_};
}

void Attending::run(const Operands& operands) {
    at_ = operands;
    if (!group_) {
        keys_.data = reinterpret_cast<const char*>(at_.key);
        values_.data = reinterpret_cast<const char*>(at_.value);
    }
    lay_tiles();
    const std::int64_t cost = (dim_ + value_dim_) * std::min(SPAN, longest_context_) * (4 * bundle_ + rows_) / 16;  // of a span
    const std::int64_t grain = std::max<std::int64_t>(1, Frame::GRAIN / std::max<std::int64_t>(1, cost));
    if (!spans_apart_) {
        f_.pool.ranges(items_, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t i = begin; i < end; ++i) whole_item(items_ - 1 - i, worker);  // the latest tokens first: they see most
        });
        return;
    }
    f_.pool.ranges(items_ * spans_, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i) one_span(i / spans_, i % spans_, worker);
    });
    f_.pool.ranges(items_, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i) merge_spans(i, worker);
    });
}

void Attending::whole_item(std::int64_t i, int worker) const {
    const Item it = item(i);
    const Workspace w = workspace(worker);
    load_queries(it, w.q);
    begin_rows(w, it.rows);
    const auto [first, last] = seen_by(it.tile);
    for (std::int64_t span = first / SPAN; span * SPAN < last; ++span) {
        attend_span(it, span, w, w.part_largest, w.part_total, w.part_acc);
        merge_rows(w, it.rows, w.part_largest, w.part_total, w.part_acc);
    }
    finish_rows(it, w);
}

void Attending::one_span(std::int64_t i, std::int64_t span, int worker) const {
    const Item it = item(i);
    const auto [first, last] = seen_by(it.tile);
    if (span < first / SPAN || span * SPAN >= last) return;
    const Workspace w = workspace(worker);
    load_queries(it, w.q);
    float* to = partial(i, span);
    attend_span(it, span, w, to, to + rows_, to + 2 * rows_);
}

void Attending::merge_spans(std::int64_t i, int worker) const {
    const Item it = item(i);
    const Workspace w = workspace(worker);
    begin_rows(w, it.rows);
    const auto [first, last] = seen_by(it.tile);
    for (std::int64_t span = first / SPAN; span * SPAN < last; ++span) {
        const float* from = partial(i, span);
        merge_rows(w, it.rows, from, from + rows_, from + 2 * rows_);
    }
    finish_rows(it, w);
}

// What a token sees

// The keys that a token may see, before a tree of drafts is considered: places [first, second).
Attending::Range Attending::seen(std::int64_t token, std::int64_t s) const {
    const std::int64_t place = f_.place[static_cast<std::size_t>(token)];
    std::int64_t first = group_ ? 0 : before(s), last = context(s);
    if (f_.batch.parents) {
        if (a_.window) first = std::max(first, std::min(before(s), depth(token, s) - a_.window + 1));
        return {first, last};
    }
    if (a_.causal) last = std::min(last, place + 1);
    if (a_.window) {
        first = std::max(first, place - a_.window + 1);
        if (!a_.causal) last = std::min(last, place + a_.window);
    }
    return {first, std::max(first, last)};
}

Attending::Range Attending::seen_by(const Tile& tile) const {
    Range all = seen(tile.first, tile.s);
    for (std::int64_t t = tile.first + 1; t < tile.first + tile.count; ++t) {
        const auto [first, last] = seen(t, tile.s);
        all = {std::min(all.first, first), std::max(all.second, last)};
    }
    return all;
}

// The place that a draft would have if its branch were the only one.
std::int64_t Attending::depth(std::int64_t token, std::int64_t s) const {
    std::int64_t d = before(s) - 1;
    for (std::int64_t node = token; node >= 0; node = f_.batch.parents[node]) ++d;
    return d;
}

// Of a row of scores of the keys [begin, end): drafts that are not among the token's nearest `window` ancestors are unseen.
void Attending::hide_other_branches(float* score, std::int64_t token, std::int64_t s, std::int64_t begin, std::int64_t end) const {
    std::int64_t steps = 0, node = token;
    for (std::int64_t key = end - 1; key >= std::max(begin, before(s)); --key) {
        const std::int64_t draft = f_.batch.query_start[s] + key - before(s);
        while (node > draft) node = f_.batch.parents[node], ++steps;
        if (node != draft || (a_.window && steps >= a_.window)) score[key - begin] = NOTHING;
    }
}

// To scores of the keys at [begin, begin + n): less, the farther they are from the query's place (ALiBi).
void Attending::add_slopes(float* score, std::int64_t head, std::int64_t place, std::int64_t begin, std::int64_t n) const {
    const float slope = a_.slopes->values[static_cast<std::size_t>(head)];
    for (std::int64_t i = 0; i < n; ++i) score[i] -= slope * static_cast<float>(std::abs(begin + i - place));
}

// To the same the bias of each key's distance, which beyond the reach stays as it is there (Raffel et al. 2020).
void Attending::add_biases(float* score, std::int64_t head, std::int64_t place, std::int64_t begin, std::int64_t n) const {
    const float* bias = a_.biases.data() + head * (2 * a_.reach + 1) + a_.reach;  // of distance 0
    const std::int64_t first = begin - place, near = std::clamp<std::int64_t>(-a_.reach - first, 0, n), far = std::clamp<std::int64_t>(a_.reach - first, near, n);
    f_.kernels.add_scalar(score, score, bias[-a_.reach], near);
    f_.kernels.add(score + near, score + near, bias + first + near, far - near);
    f_.kernels.add_scalar(score + far, score + far, bias[a_.reach], n - far);
}

// One span of one item

std::int64_t Attending::head_of(const Item& it, std::int64_t row) const {
    return (it.head + row / it.rows_a_head) * share_ + row % it.rows_a_head % share_;
}

void Attending::load_queries(const Item& it, float* q) const {
    const auto copy = [&](const float* from, std::int64_t row, std::int64_t n) {
        std::memcpy(q, from + row * n, static_cast<std::size_t>(n) * sizeof(float));
        q += n;
    };
    for (std::int64_t row = 0; row < it.rows; ++row) {
        const std::int64_t at = (it.tile.first + row % it.rows_a_head / share_) * heads_ + head_of(it, row);
        copy(at_.query, at, a_.dim);
        if (a_.rest_dim) copy(at_.query_rest, at, a_.rest_dim);
    }
}

// Where the keys at places [begin, end) of sequence s are stored.
void Attending::find_entries(std::int64_t s, std::int64_t begin, std::int64_t end, std::int64_t* entry) const {
    if (!group_) {
        for (std::int64_t key = begin; key < end; ++key) *entry++ = f_.batch.query_start[s] + key - before(s);
        return;
    }
    const std::int64_t size = group_->block_size, start = table_->start ? table_->start[s] : 0;
    if (begin / size < start) throw ProgramError("group " + group_->name + ": a block that a window still needs was given back");
    const std::int32_t* block = table_->blocks + s * table_->width + begin / size - start;
    std::int64_t offset = begin % size;
    for (std::int64_t key = begin; key < end; ++key) {
        *entry++ = *block * size + offset;
        if (++offset == size) offset = 0, ++block;
    }
}

// The softmax of the item's rows over the keys of one span: to largest, total and acc.
void Attending::attend_span(const Item& it, std::int64_t span, const Workspace& w, float* largest, float* total, float* acc) const {
    const auto [first, last] = seen_by(it.tile);
    const std::int64_t begin = std::max(first, span * SPAN), end = std::min(last, (span + 1) * SPAN), n = std::max<std::int64_t>(0, end - begin);
    const int rows = static_cast<int>(it.rows_a_head), dim = static_cast<int>(dim_), value_dim = static_cast<int>(value_dim_);
    const void* rows_at[CHUNK];
    const auto find = [&](const Stored& in, std::int64_t at, int count, std::int64_t head) {
        in.find(rows_at, w.entry + at, count, (it.head + head) / cut_);
        return rows_at;
    };
    if (n > 0) find_entries(it.tile.s, begin, end, w.entry);
    for (std::int64_t at = 0; at < n; at += CHUNK) {
        const int count = static_cast<int>(std::min<std::int64_t>(CHUNK, n - at));
        for (std::int64_t head = 0, row = 0; head < bundle_; ++head, row += rows) {
            f_.kernels.load_keys(keys_.storage, w.keys, find(keys_, at, count, head), count, keys_.dim);
            if (rest_.dim) f_.kernels.load_keys(rest_.storage, w.keys + keys_.dim * CHUNK, find(rest_, at, count, head), count, rest_.dim);
            f_.kernels.scores(w.score + row * STRIDE + at, STRIDE, w.q + row * dim, rows, w.keys, count, dim, a_.scale, a_.softcap);
        }
    }
    for (std::int64_t row = 0; row < it.rows; ++row) {
        const std::int64_t token = it.tile.first + row % rows / share_;
        const auto [from, to] = seen(token, it.tile.s);
        float* score = w.score + row * STRIDE;
        if (a_.reach) add_biases(score, head_of(it, row), f_.place[static_cast<std::size_t>(token)], begin, n);
        if (a_.slopes) add_slopes(score, head_of(it, row), f_.place[static_cast<std::size_t>(token)], begin, n);
        if (f_.batch.parents) hide_other_branches(score, token, it.tile.s, begin, end);
        w.low[row] = static_cast<int>(std::clamp<std::int64_t>(from - begin, 0, n));
        w.high[row] = static_cast<int>(std::clamp<std::int64_t>(to - begin, w.low[row], n));
        f_.kernels.exponentiate(score, w.low[row], w.high[row], static_cast<int>(n), largest + row, total + row);
    }
    std::fill(acc, acc + it.rows * value_dim_, 0.0f);
    for (std::int64_t at = 0; at < n; at += CHUNK) {
        const int count = static_cast<int>(std::min<std::int64_t>(CHUNK, n - at));
        for (std::int64_t head = 0, row = 0; head < bundle_; ++head, row += rows) {
            f_.kernels.load_values(values_.storage, w.values, find(values_, at, count, head), count, value_dim);
            f_.kernels.accumulate(acc + row * value_dim_, w.score + row * STRIDE + at, STRIDE, rows, w.values, count, value_dim, w.low + row,
                                  w.high + row, static_cast<int>(at));
        }
    }
}

// The rows of an item over all spans

void Attending::begin_rows(const Workspace& w, std::int64_t rows) const {
    std::fill(w.largest, w.largest + rows, NOTHING);
    std::fill(w.total, w.total + rows, 0.0f);
    std::fill(w.acc, w.acc + rows * value_dim_, 0.0f);
}

void Attending::merge_rows(const Workspace& w, std::int64_t rows, const float* largest, const float* total, const float* part) const {
    for (std::int64_t row = 0; row < rows; ++row) {
        f_.kernels.merge(w.largest + row, w.total + row, w.acc + row * value_dim_, largest[row], total[row], part + row * value_dim_,
                         static_cast<int>(value_dim_));
    }
}

void Attending::finish_rows(const Item& it, const Workspace& w) const {
    for (std::int64_t row = 0; row < it.rows; ++row) {
        const std::int64_t token = it.tile.first + row % it.rows_a_head / share_, head = head_of(it, row);
        float* acc = w.acc + row * value_dim_;
        if (a_.sinks) {  // a logit in the denominator that has no value
            std::fill(w.part_acc, w.part_acc + value_dim_, 0.0f);
            const float sink = a_.sinks->values[static_cast<std::size_t>(head)];
            f_.kernels.merge(w.largest + row, w.total + row, acc, sink, 1.0f, w.part_acc, static_cast<int>(value_dim_));
        }
        f_.kernels.mul_scalar(at_.output + (token * heads_ + head) * value_dim_, acc, 1.0f / w.total[row], value_dim_);
    }
}

}  // namespace heron
