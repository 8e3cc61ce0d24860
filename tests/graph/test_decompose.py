"""Fused ops become what they mean, down to the ops that an executor has kernels for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from toy import toy

from heron.graph.ops import OPS
from heron.graph.passes.decompose import decompose


def ops(kept: Iterable[str]) -> Counter[str]:
    graph = decompose(toy("F32", layers=2).entries["forward"], lambda node: node.op in kept)
    return Counter(node.op for node in graph.nodes)


def test_fused_ops_made_of_fused_ops_are_decomposed_too() -> None:
    found = ops(())
    assert not [name for name in found if OPS[name].compose]
    assert (found["rope"], found["kv_write"], found["attend"]) == (4, 2, 2)


def test_a_fused_op_within_another_may_be_kept() -> None:
    found = ops(("attention",))
    assert (found["rope"], found["attention"]) == (4, 2)
    assert not found["attend"]


def test_nothing_is_done_where_all_are_kept() -> None:
    graph = toy("F32").entries["forward"]
    assert decompose(graph, lambda node: True) is graph
