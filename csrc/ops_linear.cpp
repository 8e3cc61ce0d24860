// Products with weights: embedding rows, linear layers (several of one input at once), experts.
#include <algorithm>

#include "matrix.h"
#include "ops.h"

namespace heron {
namespace {

constexpr std::int64_t ITEM_BYTES = 32768;  // of weights times tokens in a work item, at least
constexpr std::int64_t ITEMS_A_THREAD = 8;

std::int64_t aligned(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Panels in a work item: as many as are worth handing out, few enough that every thread gets several items.
std::int64_t panels_an_item(const Frame& f, const Matrix& matrix, std::int64_t tokens) {
    const std::int64_t panel_bytes = matrix.bytes() / matrix.panels() + 1;
    const std::int64_t least = ITEM_BYTES / (panel_bytes * tokens) + 1;
    return std::max(least, matrix.panels() / (f.pool.size() * ITEMS_A_THREAD));
}

// y = x W' + bias, for W one of several matrices that share an input.
struct Product {
    std::shared_ptr<const Matrix> matrix;
    WeightPtr bias;
    Value y;

    void run(const Frame& f, const char* prepared, std::int64_t tokens, std::int64_t first, std::int64_t last) const {
        const std::int64_t n = matrix->rows();
        float* to = f.f32(y);
        matrix->product(to, n, prepared, tokens, first, last);
        if (!bias) return;
        const std::int64_t begin = first * matrix->panel_rows(), count = std::min(n, last * matrix->panel_rows()) - begin;
        for (std::int64_t t = 0; t < tokens; ++t) f.kernels.add(to + t * n + begin, to + t * n + begin, bias->values.data() + begin, count);
    }
};

// Products of one input: it is prepared once for each kind of preparation that their matrices want.
class Products {
public:
    Products(Value x, std::vector<Product> products) : x_(std::move(x)), products_(std::move(products)) {
        for (const Product& product : products_) {
            const Matrix* matrix = product.matrix.get();
            const auto alike = std::find_if(kinds_.begin(), kinds_.end(), [&](const Matrix* m) { return m->preparation() == matrix->preparation(); });
            kind_of_.push_back(static_cast<std::size_t>(alike - kinds_.begin()));
            if (alike == kinds_.end()) kinds_.push_back(matrix);
        }
    }

    std::int64_t scratch(const Frame& f) const {
        std::int64_t bytes = 0;
        for (const Matrix* kind : kinds_) bytes += aligned(f.rows(x_) * kind->prepared_bytes());
        return bytes;
    }

    void run(const Frame& f) const {
        const std::int64_t tokens = f.rows(x_), n = x_.columns();
        if (tokens == 0) return;
        const float* x = f.f32(x_);
        char* prepared[MOST];
        char* next = f.scratch;
        for (std::size_t k = 0; k < kinds_.size(); ++k) {
            const Matrix* kind = kinds_[k];
            prepared[k] = next;
            next += aligned(tokens * kind->prepared_bytes());
            f.by_rows(tokens, n, [&](std::int64_t begin, std::int64_t end) {
                kind->prepare(prepared[k] + begin * kind->prepared_bytes(), x + begin * n, end - begin);
            });
        }
        std::int64_t grain[MOST], end_item[MOST], items = 0;
        for (std::size_t i = 0; i < products_.size(); ++i) {
            grain[i] = panels_an_item(f, *products_[i].matrix, tokens);
            items += (products_[i].matrix->panels() + grain[i] - 1) / grain[i];
            end_item[i] = items;
        }
        f.pool.run(items, [&](std::int64_t item, int) {
            std::size_t i = 0;
            while (item >= end_item[i]) ++i;
            const std::int64_t first = (item - (i ? end_item[i - 1] : 0)) * grain[i];
            products_[i].run(f, prepared[kind_of_[i]], tokens, first, std::min(products_[i].matrix->panels(), first + grain[i]));
        });
    }

    static constexpr std::size_t MOST = 8;

private:
    Value x_;
    std::vector<Product> products_;
    std::vector<const Matrix*> kinds_;  // the first matrix of each kind of preparation
    std::vector<std::size_t> kind_of_;
};

Instruction instruction_of(Products made) {
    const auto products = std::make_shared<const Products>(std::move(made));
    return {[=](Frame& f) { products->run(f); }, [=](const Frame& f) { return products->scratch(f); }};
}

Instruction linear(const Node& node, Shared&) {
    return instruction_of({node.inputs[0], {{node.weights[0]->matrices.at(0), weight_of(node, 1), node.outputs[0]}}});
}

Instruction packed_linear(const Node& node, Shared&) {
    const std::size_t n = node.outputs.size();
    if (n > Products::MOST) throw ProgramError("packed_linear has more than " + std::to_string(Products::MOST) + " matrices");
    std::vector<Product> products;
    for (std::size_t i = 0; i < n; ++i) products.push_back({node.weights[i]->matrices.at(0), weight_of(node, n + i), node.outputs[i]});
    return instruction_of({node.inputs[0], std::move(products)});
}

Instruction embed(const Node& node, Shared&) {
    const Value ids = node.inputs[0], y = node.outputs[0];
    const WeightPtr weight = weight_of(node, 0);
    const Matrix* matrix = weight->matrices.at(0).get();
    return {[=](Frame& f) {
        const std::int64_t n = y.columns();
        f.by_rows(f.rows(y), n, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t t = begin; t < end; ++t) {
                const std::int32_t id = f.i32(ids)[t];
                if (id < 0 || id >= matrix->rows()) {
                    throw ProgramError("token id " + std::to_string(id) + " is outside the " + std::to_string(matrix->rows()) + " of " + weight->name);
                }
                matrix->unpack_row(f.f32(y) + t * n, id);
            }
        });
    }, {}};
}

// Rows of x multiplied by the expert that each is routed to. Rows of one expert are brought together first.
class ExpertProducts {
public:
    explicit ExpertProducts(const Node& node)
        : x_(node.inputs[0]), ids_(node.inputs[1]), y_(node.outputs[0]), weight_(weight_of(node, 0)), bias_(weight_of(node, 1)),
          first_(static_cast<std::int32_t>(node.attributes.number("first"))) {}

    std::int64_t scratch(const Frame& f) const {
        const std::int64_t rows = f.elements(ids_);
        return aligned(rows * 4) + aligned((experts() + 1) * 8) + aligned(rows * any().prepared_bytes()) + aligned(rows * any().rows() * 4);
    }

    void run(const Frame& f) const {
        const std::int64_t rows = f.elements(ids_), n = x_.columns(), out = any().rows(), choices = ids_.columns();
        auto* order = reinterpret_cast<std::int32_t*>(f.scratch);
        auto* begin = reinterpret_cast<std::int64_t*>(f.scratch + aligned(rows * 4));
        char* prepared = reinterpret_cast<char*>(begin) + aligned((experts() + 1) * 8);
        auto* product = reinterpret_cast<float*>(prepared + aligned(rows * any().prepared_bytes()));
        sort_by_expert(f, order, begin);

        const std::int64_t held = begin[experts()], share = f.rows(x_) == rows ? 1 : choices;  // choices that read one row of x
        f.by_rows(held, n, [&](std::int64_t from, std::int64_t to) {
            for (std::int64_t i = from; i < to; ++i) any().prepare(prepared + i * any().prepared_bytes(), f.f32(x_) + order[i] / share * n, 1);
        });
        const std::int64_t grain = panels_an_item(f, any(), std::max<std::int64_t>(1, held / experts())), items = (any().panels() + grain - 1) / grain;
        f.pool.run(experts() * items, [&](std::int64_t item, int) {
            const std::int64_t e = item / items, from = begin[e], count = begin[e + 1] - from, panel = item % items * grain;
            if (count == 0) return;
            const Matrix& m = *weight_->matrices[static_cast<std::size_t>(e)];
            const std::int64_t last_panel = std::min(m.panels(), panel + grain);
            m.product(product + from * out, out, prepared + from * m.prepared_bytes(), count, panel, last_panel);
            const std::int64_t at = panel * m.panel_rows(), width = std::min(out, last_panel * m.panel_rows()) - at;
            for (std::int64_t i = from; i < from + count; ++i) {
                const float* bias = bias_ ? bias_->values.data() + e * out + at : nullptr;
                place(f, f.f32(y_) + order[i] * out + at, product + i * out + at, bias, width);
            }
        });
    }

private:
    const Matrix& any() const { return *weight_->matrices[0]; }
    std::int64_t experts() const { return static_cast<std::int64_t>(weight_->matrices.size()); }

    // order[begin[e] .. begin[e + 1]) are the rows that expert e multiplies. Rows of experts that are not here become 0.
    void sort_by_expert(const Frame& f, std::int32_t* order, std::int64_t* begin) const {
        const std::int64_t rows = f.elements(ids_), out = any().rows();
        const std::int32_t* ids = f.i32(ids_);
        std::fill(begin, begin + experts() + 1, 0);
        for (std::int64_t r = 0; r < rows; ++r) {
            if (const std::int64_t e = ids[r] - first_; e >= 0 && e < experts()) {
                ++begin[e + 1];
            } else {
                std::fill(f.f32(y_) + r * out, f.f32(y_) + (r + 1) * out, 0.0f);
            }
        }
        for (std::int64_t e = 0; e < experts(); ++e) begin[e + 1] += begin[e];
        for (std::int64_t r = 0; r < rows; ++r) {
            if (const std::int64_t e = ids[r] - first_; e >= 0 && e < experts()) order[begin[e]++] = static_cast<std::int32_t>(r);
        }
        for (std::int64_t e = experts(); e > 0; --e) begin[e] = begin[e - 1];  // each had moved to its end
        begin[0] = 0;
    }

    static void place(const Frame& f, float* to, const float* from, const float* bias, std::int64_t n) {
        if (bias) {
            f.kernels.add(to, from, bias, n);
        } else {
            std::copy(from, from + n, to);
        }
    }

    Value x_, ids_, y_;
    WeightPtr weight_, bias_;
    std::int32_t first_;  // the first expert held here
};

Instruction expert_linear(const Node& node, Shared&) {
    const auto products = std::make_shared<const ExpertProducts>(node);
    return {[=](Frame& f) { products->run(f); }, [=](const Frame& f) { return products->scratch(f); }};
}

}  // namespace

void add_linear_kernels(Kernels& table) {
    table["embed"] = embed;
    table["linear"] = linear;
    table["packed_linear"] = packed_linear;
    table["expert_linear"] = expert_linear;
}

}  // namespace heron
