#include "ops.h"

namespace heron {

void Broadcast::measure(const Frame& f, const std::int64_t* from, std::size_t from_axes, const Value& to) {
    if (to.shape.size() > MOST_AXES || from_axes > to.shape.size()) throw ProgramError("an elementwise op has values of too many axes");
    const std::int64_t columns = from_axes ? from[from_axes - 1] : 1;
    single = columns != to.columns();
    same = !single;
    axes_ = static_cast<int>(to.shape.size()) - 1;
    std::int64_t stride = columns;
    for (int i = axes_ - 1; i >= 0; --i) {
        const std::int64_t at = i - static_cast<std::int64_t>(to.shape.size() - from_axes);  // this axis in the operand
        const std::int64_t size = at >= 0 ? from[at] : 1;
        size_[i] = f.size(to.shape[static_cast<std::size_t>(i)]);
        stride_[i] = size == size_[i] ? stride : 0;
        same = same && size == size_[i];
        stride *= size;
    }
}

const Kernels& kernels() {
    static const Kernels table = [] {
        Kernels made;
        add_row_kernels(made);
        add_shape_kernels(made);
        add_routing_kernels(made);
        add_linear_kernels(made);
        add_rope_kernels(made);
        add_attention_kernels(made);
        add_recurrent_kernels(made);
        return made;
    }();
    return table;
}

}  // namespace heron
