"""What the native backend will hold, told from the graphs alone."""

from __future__ import annotations

from heron import _core
from heron.backends.base import Options
from heron.backends.native.lower import for_native
from heron.graph.graph import Model, Weight
from heron.graph.passes.plan import plan
from heron.graph.passes.weigh import Held

#: Rows of a panel: of the widest vectors. Matrices are held in whole panels.
PANEL = 16


def held(options: Options) -> Held:
    """Matrices as the file has them, in whole panels; formats without a layout, and everything else, as f32."""

    def bytes_of(weight: Weight, matrix: bool) -> int:
        tensor = weight.tensor
        if not matrix or not _core.knows_format(tensor.format.id):
            return 4 * tensor.size
        if not options.repack and tensor.in_place() is not None:
            return 0  # the mapped file's pages, which the system may take back
        rows = tensor.shape[-2]
        return tensor.nbytes // rows * (-(-rows // PANEL) * PANEL)

    return bytes_of


def buffers(model: Model, options: Options, tokens: int, rows: int, sequences: int) -> int:
    """Bytes of the values of the largest step, and of what its widest product makes of its inputs."""
    symbols = {"T": tokens, "R": rows, "S": sequences, "P": 1}
    found = 0
    for graph in model.entries.values():
        lowered = for_native(graph, options.fuse)
        widest = max((w.shape[-1] for node in lowered.nodes for w in node.weights if w is not None and len(w.shape) > 1), default=0)
        found = max(found, plan(lowered).offsets(symbols)[1] + tokens * widest * (4 if options.activations == "f32" else 2))
    return found
