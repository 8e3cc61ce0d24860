// Products with weights: embedding rows, linear layers (several of one input at once), experts. Kernels: layout.h.
#include <algorithm>

#include "ops.h"

namespace heron {
namespace {

// Panels are handed out a few together, at least so many that the bytes of weights times tokens are worth it: several microseconds.
constexpr std::int64_t WORTH = 1 << 16;

std::int64_t bundles(const PackedMatrix& matrix) { return (matrix.panels() + PANELS_TOGETHER - 1) / PANELS_TOGETHER; }

std::int64_t worthwhile(const PackedMatrix& matrix, std::int64_t tokens) {
    return WORTH / (matrix.layout->panel_bytes(matrix.k) * PANELS_TOGETHER * tokens) + 1;
}

// The product with bundles [begin, end) of the matrix.
void multiply(const PackedMatrix& matrix, std::int64_t begin, std::int64_t end, const Activations& x, float* y, std::int64_t ldy, const float* bias,
              const std::int32_t* places = nullptr) {
    dot(matrix, begin * PANELS_TOGETHER, std::min(matrix.panels(), end * PANELS_TOGETHER), x, y, ldy, bias, places);
}

// What one thread makes before it goes on to what is made of it: the second-level cache holds it.
constexpr std::int64_t STAY = 256 << 10;

// y = x W' + bias, for W one of several matrices that share an input.
struct Branch {
    WeightPtr weight, bias;
    Value y;

    const PackedMatrix& matrix() const { return weight->matrices[0]; }
};

// Products of one input, which is prepared once for each kind of activations that the matrices want.
class Branches {
public:
    static constexpr std::size_t MOST = 8;

    // Into outputs of the node, or, of a gated node, all into its only one.
    Branches(const Node& node, std::size_t count) : x_(node.inputs[0]) {
        if (count > MOST) throw ProgramError(node.op + " has more than " + std::to_string(MOST) + " matrices");
        for (std::size_t i = 0; i < count; ++i) {
            branches_.push_back({node.weights[i], weight_of(node, count + i), node.outputs[std::min(i, node.outputs.size() - 1)]});
            const ActivationKind kind = branches_[i].matrix().layout->kind(mode_of(node));
            const auto alike = std::find(kinds_.begin(), kinds_.end(), kind);
            kind_of_.push_back(static_cast<std::size_t>(alike - kinds_.begin()));
            if (alike == kinds_.end()) kinds_.push_back(kind);
        }
    }

    std::int64_t scratch(const Frame& f) const {
        std::int64_t bytes = 0;
        for (const ActivationKind& kind : kinds_) bytes += aligned(f.rows(x_) * activation_bytes(kind, x_.columns()));
        return bytes;
    }

    void run(const Frame& f) const {
        const std::int64_t tokens = f.rows(x_);
        if (tokens == 0) return;
        Activations prepared[MOST];
        prepare_all(f, prepared);
        std::int64_t count = 0;
        for (const Branch& branch : branches_) count += bundles(branch.matrix());
        f.pool.ranges(count, worthwhile(branches_[0].matrix(), tokens), [&](std::int64_t begin, std::int64_t end, int) {
            std::int64_t first = 0;  // bundle of the branch
            for (std::size_t i = 0; i < branches_.size() && first < end; ++i) {
                const Branch& branch = branches_[i];
                const std::int64_t own = bundles(branch.matrix()), from = std::max(begin, first), to = std::min(end, first + own);
                const float* bias = branch.bias ? branch.bias->values.data() : nullptr;
                if (from < to) multiply(branch.matrix(), from - first, to - first, prepared[kind_of_[i]], f.f32(branch.y), branch.matrix().rows, bias);
                first += own;
            }
        });
    }

    std::int64_t gated_scratch(const Frame& f) const { return scratch(f) + f.pool.size() * 2 * aligned(gated_bundles(f.rows(x_)) * bundle_bytes(f.rows(x_))); }

    // y = glu of the two products, whose rows never leave the cache: a row of many products lies far from the next one.
    void run_gated(const Frame& f, const Glu& how) const {
        const std::int64_t tokens = f.rows(x_), most = gated_bundles(tokens);
        if (tokens == 0) return;
        Activations prepared[MOST];
        prepare_all(f, prepared);
        char* const own = f.scratch + scratch(f);
        const PackedMatrix& matrix = branches_[0].matrix();
        const std::int64_t width = most * PANELS_TOGETHER * matrix.layout->rows, half = aligned(most * bundle_bytes(tokens));
        f.pool.ranges(bundles(matrix), worthwhile(matrix, tokens), [&](std::int64_t begin, std::int64_t end, int worker) {
            auto* gate = reinterpret_cast<float*>(own + worker * 2 * half);
            auto* up = reinterpret_cast<float*>(own + worker * 2 * half + half);
            for (std::int64_t at = begin; at < end; at += most) {
                const std::int64_t to = std::min(end, at + most), first = at * PANELS_TOGETHER * matrix.layout->rows;
                const std::int64_t rows = std::min(matrix.rows, to * PANELS_TOGETHER * matrix.layout->rows) - first;
                for (std::size_t i = 0; i < 2; ++i) {
                    const float* bias = branches_[i].bias ? branches_[i].bias->values.data() : nullptr;
                    multiply(branches_[i].matrix(), at, to, prepared[kind_of_[i]], (i ? up : gate) - first, width, bias);
                }
                for (std::int64_t t = 0; t < tokens; ++t) f.kernels.glu(how, f.f32(branches_[0].y) + t * matrix.rows + first, gate + t * width, up + t * width, rows);
            }
        });
    }

private:
    std::int64_t bundle_bytes(std::int64_t tokens) const { return tokens * PANELS_TOGETHER * branches_[0].matrix().layout->rows * 4; }
    std::int64_t gated_bundles(std::int64_t tokens) const { return std::max<std::int64_t>(1, STAY / 2 / std::max<std::int64_t>(1, bundle_bytes(tokens))); }

    void prepare_all(const Frame& f, Activations* prepared) const {
        const std::int64_t tokens = f.rows(x_), k = x_.columns();
        char* next = f.scratch;
        for (std::size_t i = 0; i < kinds_.size(); ++i) {
            char* to = next;
            next += aligned(tokens * activation_bytes(kinds_[i], k));
            const std::int64_t tiles = tile_count(kinds_[i], f.runtime.isa, tokens);
            f.by_rows(tiles, k * (tokens / tiles), [&](std::int64_t begin, std::int64_t end) {
                prepare(kinds_[i], f.runtime.isa, f.f32(x_), k, tokens, k, begin, end, to);
            });
            prepared[i] = {kinds_[i], tokens, to};
        }
    }

    Value x_;
    std::vector<Branch> branches_;
    std::vector<ActivationKind> kinds_;
    std::vector<std::size_t> kind_of_;  // of each branch
};

template <class Products>
Instruction instruction_of(std::shared_ptr<const Products> products) {
    return {[=](Frame& f) { products->run(f); }, [=](const Frame& f) { return products->scratch(f); }};
}

Instruction linear(const Node& node, Shared&) { return instruction_of(std::make_shared<const Branches>(node, 1)); }

Instruction gated_linear(const Node& node, Shared&) {
    const auto products = std::make_shared<const Branches>(node, 2);
    if (node.weights[0]->matrices[0].rows != node.weights[1]->matrices[0].rows) throw ProgramError("gated_linear takes two matrices of one shape");
    const Glu how = glu_of(node);
    return {[=](Frame& f) { products->run_gated(f, how); }, [=](const Frame& f) { return products->gated_scratch(f); }};
}

Instruction packed_linear(const Node& node, Shared&) { return instruction_of(std::make_shared<const Branches>(node, node.outputs.size())); }

Instruction embed(const Node& node, Shared&) {
    const Value ids = node.inputs[0], y = node.outputs[0];
    const WeightPtr weight = weight_of(node, 0);
    return {[=](Frame& f) {
        const std::int64_t n = y.columns();
        const PackedMatrix& matrix = weight->matrices[0];
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t t = begin; t < end; ++t) {
                const std::int32_t id = f.i32(ids)[t];
                if (id >= 0 && id < matrix.rows) continue;
                throw ProgramError("token id " + std::to_string(id) + " is outside the " + std::to_string(matrix.rows) + " of " + weight->name);
            }
            unpack_rows(matrix, f.i32(ids) + begin, end - begin, f.f32(y) + begin * n, n);
        });
    }, {}};
}

// Rows of x multiplied by the expert that each is routed to. Rows of one expert are brought together first.
class Experts {
public:
    explicit Experts(const Node& node)
        : x_(node.inputs[0]), ids_(node.inputs[1]), y_(node.outputs[0]), weight_(weight_of(node, 0)), bias_(weight_of(node, 1)),
          kind_(weight_->matrices[0].layout->kind(mode_of(node))), first_(static_cast<std::int32_t>(node.attributes.number("first"))) {}

    std::int64_t scratch(const Frame& f) const {
        const std::int64_t rows = f.elements(ids_);
        return 2 * aligned(rows * 4) + expert_bytes() + rows * activation_bytes(kind_, x_.columns()) + std::min(rows, experts()) * 64;
    }

    void run(const Frame& f) const {
        const std::int64_t rows = f.elements(ids_), k = x_.columns(), out = y_.columns();
        auto* place = reinterpret_cast<std::int32_t*>(f.scratch);                           // of an output row, by expert
        auto* source = reinterpret_cast<std::int32_t*>(f.scratch + aligned(rows * 4));      // the row of x that it is made of
        auto* expert = reinterpret_cast<Expert*>(f.scratch + 2 * aligned(rows * 4));
        char* prepared = f.scratch + 2 * aligned(rows * 4) + expert_bytes();
        const std::int64_t share = f.rows(x_) == rows ? 1 : ids_.columns();  // choices that read one row of x
        const Work work = sort_rows(f, place, source, expert, share);

        f.pool.ranges(work.tiles, Frame::GRAIN / k + 1, [&](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t i = begin; i < end; ++i) {
                const Expert& e = *std::upper_bound(expert, expert + experts(), i, [](std::int64_t at, const Expert& x) { return at < x.end_tile; });
                const std::int64_t tile = i - (e.end_tile - tile_count(kind_, f.runtime.isa, e.count));
                prepare(kind_, f.runtime.isa, f.f32(x_), k, e.count, k, tile, tile + 1, prepared + e.offset, source + e.first);
            }
        });
        const std::int64_t grain = worthwhile(weight_->matrices[0], std::max<std::int64_t>(1, rows / std::max<std::int64_t>(1, work.experts)));
        f.pool.ranges(work.bundles, grain, [&](std::int64_t begin, std::int64_t end, int) {
            for (const Expert* e = std::upper_bound(expert, expert + experts(), begin, [](std::int64_t at, const Expert& x) { return at < x.end_bundle; }); begin < end; ++e) {
                if (!e->count) continue;
                const PackedMatrix& matrix = weight_->matrices[static_cast<std::size_t>(e - expert)];
                const std::int64_t first = e->end_bundle - bundles(matrix), last = std::min(end, e->end_bundle);
                const float* bias = bias_ ? bias_->values.data() + (e - expert) * out : nullptr;
                multiply(matrix, begin - first, last - first, {kind_, e->count, prepared + e->offset}, f.f32(y_), out, bias, place + e->first);
                begin = last;
            }
        });
    }

private:
    // What one expert has to do: rows [first, first + count) in the order by expert, their activations at `offset`.
    struct Expert {
        std::int64_t first, count, offset, end_tile, end_bundle;
    };
    struct Work {
        std::int64_t experts, tiles, bundles;
    };

    std::int64_t experts() const { return static_cast<std::int64_t>(weight_->matrices.size()); }

    std::int64_t expert_bytes() const { return aligned(experts() * static_cast<std::int64_t>(sizeof(Expert))); }

    // Rows of experts that are not here become 0.
    Work sort_rows(const Frame& f, std::int32_t* place, std::int32_t* source, Expert* expert, std::int64_t share) const {
        const std::int64_t rows = f.elements(ids_), out = y_.columns();
        const std::int32_t* ids = f.i32(ids_);
        const auto here = [&](std::int64_t r) { return ids[r] >= first_ && ids[r] - first_ < experts(); };
        std::fill(expert, expert + experts(), Expert{});
        for (std::int64_t r = 0; r < rows; ++r) {
            if (here(r)) {
                ++expert[ids[r] - first_].count;
            } else {
                std::fill(f.f32(y_) + r * out, f.f32(y_) + (r + 1) * out, 0.0f);
            }
        }
        Work work{};
        std::int64_t first = 0, offset = 0;
        for (std::int64_t i = 0; i < experts(); ++i) {
            Expert& e = expert[i];
            e.first = first, e.offset = offset;
            if (e.count) {
                ++work.experts;
                work.tiles += tile_count(kind_, f.runtime.isa, e.count);
                work.bundles += bundles(weight_->matrices[static_cast<std::size_t>(i)]);
            }
            e.end_tile = work.tiles, e.end_bundle = work.bundles;
            first += e.count;
            offset += aligned(e.count * activation_bytes(kind_, x_.columns()));
            e.count = 0;
        }
        for (std::int64_t r = 0; r < rows; ++r) {
            if (!here(r)) continue;
            Expert& e = expert[ids[r] - first_];
            const std::int64_t at = e.first + e.count++;
            place[at] = static_cast<std::int32_t>(r);
            source[at] = static_cast<std::int32_t>(r / share);
        }
        return work;
    }

    Value x_, ids_, y_;
    WeightPtr weight_, bias_;
    ActivationKind kind_;
    std::int32_t first_;  // the first expert held here
};

Instruction expert_linear(const Node& node, Shared&) { return instruction_of(std::make_shared<const Experts>(node)); }

}  // namespace

void add_linear_kernels(Kernels& table) {
    table["embed"] = embed;
    table["linear"] = linear;
    table["packed_linear"] = packed_linear;
    table["gated_linear"] = gated_linear;
    table["expert_linear"] = expert_linear;
}

}  // namespace heron
