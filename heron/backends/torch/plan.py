"""A graph made ready to run: the kernel of each node, and which values are let go behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor

# The kernel modules register their kernels when they are imported.
from heron.backends.torch import attention, core, recurrent, routing  # noqa: F401
from heron.backends.torch.step import KERNELS, TAKES, TRITON, Kernel, Step
from heron.backends.torch.triton.launch import usable
from heron.graph.dims import Shape
from heron.graph.graph import Graph, Node, Value

#: Modules of heron/backends/torch/triton that register kernels; they are imported where Triton compiles for the device.
TRITON_MODULES: tuple[str, ...] = ("ops_attention", "ops_linear", "ops_rows")

#: The kernel of a node; None where there is none.
Choice = Callable[[Node], Kernel | None]


def choice(device: torch.device) -> Choice:
    """How kernels are chosen for nodes on the device: Triton's where it is usable and takes the node, else torch's."""
    if not usable(device):
        return lambda node: KERNELS.get(node.op)
    for module in TRITON_MODULES:
        import_module(f"heron.backends.torch.triton.{module}")

    def choose(node: Node) -> Kernel | None:
        takes = TAKES.get(node.op)
        return TRITON[node.op] if takes is not None and takes(node) else KERNELS.get(node.op)

    return choose


#: The output that says which rows of the logits [R] hold a NaN or an infinity; every plan that gives logits gives it too.
NONFINITE = "nonfinite"


@dataclass(frozen=True, eq=False)
class Plan:
    graph: Graph
    steps: tuple[tuple[Kernel, Node, tuple[Value, ...]], ...]  #: kernel, its node, and the values that nothing needs after it

    @staticmethod
    def of(graph: Graph, choose: Choice) -> Plan:
        last = {value: i for i, node in enumerate(graph.nodes) for value in (*node.outputs, *node.inputs)}
        kept = set(graph.outputs.values())

        def ended(i: int, values: Iterable[Value]) -> tuple[Value, ...]:
            return tuple(value for value in dict.fromkeys(values) if last[value] == i and value not in kept)

        steps = []
        for i, node in enumerate(graph.nodes):
            kernel = choose(node)
            assert kernel is not None, f"no kernel for {node}"
            steps.append((kernel, node, ended(i, (*node.inputs, *node.outputs))))
        return Plan(graph, tuple(steps))

    @property
    def outputs(self) -> dict[str, Shape]:
        """The sizes of what ``run`` gives."""
        sizes = {name: value.shape for name, value in self.graph.outputs.items()}
        return sizes | {NONFINITE: sizes["logits"][:-1]} if "logits" in sizes else sizes

    def run(self, step: Step) -> dict[str, Tensor]:
        """The graph's outputs, on the device."""
        values = {value: step.input(name) for name, value in self.graph.inputs.items()}
        for kernel, node, ended in self.steps:
            results = kernel(step, node, *(values[value] for value in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
            for value in ended:
                del values[value]
        outputs = {name: values[value] for name, value in self.graph.outputs.items()}
        if "logits" in outputs:
            outputs[NONFINITE] = outputs["logits"].isfinite().all(-1).logical_not()
        return outputs
