// One node's attention in one step.
//
// The keys of a sequence are cut at absolute places into spans of SPAN. Each span gives a partial softmax, and the
// partial ones are merged in order: so an answer depends neither on the step's other tokens nor on the threads.
//
// A work item is a tile of neighbouring tokens and a bundle of key heads, with the query heads that share them. Tiles
// make prompts fast: many queries share the loads of a key. Bundles make decoding fast: neighbouring heads of a key
// lie side by side in memory.
#pragma once

#include <utility>

#include "program.h"

namespace heron {

struct Attention {
    std::int64_t heads = 0, dim = 0, value_dim = 0;            // of queries; rest_dim further elements may lie apart
    std::int64_t key_heads = 0, rest_dim = 0;                  // without a state
    int key_field = -1, rest_field = -1, value_field = -1;     // of the state
    float scale = 1, softcap = 0;
    bool causal = true;
    std::int64_t window = 0;
    WeightPtr sinks, slopes;
    std::vector<float> biases;  // [heads, 2 reach + 1] by the key's distance, which is -reach at least and reach at most; or none
    std::int64_t reach = 0;
};

// Where a step's values lie. `query_rest` goes with rest_dim; `key` and `value` where no state is read. The output may
// take the queries' place.
struct Operands {
    const float *query, *query_rest, *key, *value;
    float* output;
    char* scratch;
};

class Attending {
public:
    Attending(const Attention& attention, const Frame& frame);

    std::int64_t scratch() const;  // bytes
    void run(const Operands& operands);

private:
    static constexpr std::int64_t SPAN = 256;             // keys
    static constexpr std::int64_t STRIDE = SPAN + 16;     // of rows of scores: a power of two apart they would share few of the cache's sets
    static constexpr std::int64_t TILE_FLOATS = 1 << 17;  // of an item's scores, queries and sums: they stay in the second-level cache
    static constexpr std::int64_t TILE_TOKENS = 64;       // of an item, at most: scores are computed of the keys that any of them sees
    static constexpr std::int64_t LEAST_SHARE = 4;        // query heads of an item, where those that share a key are divided
    static constexpr std::int64_t ITEMS_A_THREAD = 4;     // with fewer items than this, spans are computed in parallel

    // Tokens [first, first + count) of sequence s.
    struct Tile {
        std::int32_t s, first, count;
    };

    // Keys or values: rows of `dim` elements by entry and head.
    struct Stored {
        Storage storage;
        const char* data;
        std::int64_t entry_bytes, row_bytes;
        int dim;

        void find(const void** rows, const std::int64_t* entry, int count, std::int64_t head) const {
            for (int i = 0; i < count; ++i) rows[i] = data + entry[i] * entry_bytes + head * row_bytes;
        }
    };

    // What a thread works in. Rows are queries in the order (key head of the bundle, token of the tile, query head).
    struct Workspace {
        std::int64_t* entry;  // [SPAN] where the span's keys are stored
        float *keys, *values, *score, *q;
        float *largest, *total, *acc;                 // of the spans so far
        float *part_largest, *part_total, *part_acc;  // of one span
        int *low, *high;                              // [rows] the keys of one span that each row sees, from the first that any does
    };

    struct Item {
        const Tile& tile;
        std::int64_t head, rows_a_head, rows;  // the bundle's first key head; rows of each of its heads, and in all
    };

    using Range = std::pair<std::int64_t, std::int64_t>;

    std::int64_t length(std::int64_t s) const;
    std::int64_t before(std::int64_t s) const;   // tokens of earlier steps
    std::int64_t context(std::int64_t s) const;  // keys have places below this
    std::int64_t tile_bytes() const;
    std::int64_t workspace_floats() const;
    Workspace workspace(int worker) const;
    Stored stored(int field, std::int64_t dim) const;
    void cut_heads();
    void choose_bundle();
    std::int64_t row_floats() const { return STRIDE + dim_ + 2 * value_dim_ + 6; }  // of a workspace
    void lay_tiles();
    Item item(std::int64_t i) const;
    std::int64_t head_of(const Item& item, std::int64_t row) const;  // the query head of a row

    Range seen(std::int64_t token, std::int64_t s) const;
    Range seen_by(const Tile& tile) const;
    std::int64_t depth(std::int64_t token, std::int64_t s) const;
    void add_slopes(float* score, std::int64_t head, std::int64_t place, std::int64_t begin, std::int64_t n) const;
    void add_biases(float* score, std::int64_t head, std::int64_t place, std::int64_t begin, std::int64_t n) const;
    void hide_other_branches(float* score, std::int64_t token, std::int64_t s, std::int64_t begin, std::int64_t end) const;

    void load_queries(const Item& item, float* q) const;
    void find_entries(std::int64_t s, std::int64_t begin, std::int64_t end, std::int64_t* entry) const;
    void attend_span(const Item& item, std::int64_t span, const Workspace& w, float* largest, float* total, float* acc) const;
    void begin_rows(const Workspace& w, std::int64_t rows) const;
    void merge_rows(const Workspace& w, std::int64_t rows, const float* largest, const float* total, const float* part) const;
    void finish_rows(const Item& item, const Workspace& w) const;

    void whole_item(std::int64_t i, int worker) const;
    void one_span(std::int64_t i, std::int64_t span, int worker) const;
    void merge_spans(std::int64_t i, int worker) const;
    float* partial(std::int64_t i, std::int64_t span) const;

    const Attention& a_;
    const Frame& f_;
    std::int64_t dim_, value_dim_, heads_, key_heads_ = 0, share_ = 0;  // share_ query heads read one key head
    std::int64_t cut_ = 1;                                              // key_heads_ counts each as so many, share_ is of one of these
    std::int64_t tile_tokens_ = 0, tiles_ = 0, rows_ = 0;               // rows_ is the most that an item has
    std::int64_t longest_context_ = 0, spans_ = 0;
    std::int64_t bundle_ = 1, items_ = 0;
    bool spans_apart_ = false;
    const Group* group_ = nullptr;
    const Table* table_ = nullptr;
    Stored keys_{}, rest_{}, values_{};
    Operands at_{};
    Tile* tile_ = nullptr;
    float *workspaces_ = nullptr, *partials_ = nullptr;
};

}  // namespace heron
