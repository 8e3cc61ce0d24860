"""The memory plan on the graphs of real families: nothing that is still needed is overwritten."""

from __future__ import annotations

import itertools

import parity
import pytest
from tiny_models import EVERY

from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import RequestError
from heron.graph.builder import Builder
from heron.graph.dims import Dim, R, T, elements, resolve
from heron.graph.graph import Graph
from heron.graph.passes.plan import ALIGNMENT, plan
from heron.graph.passes.tap import tap
from heron.models.registry import build_model


@pytest.fixture(scope="module", params=["mixtral", "gemma3", "qwen3next", "deepseek2"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp(request.param)
    parity.tiny(EVERY[request.param](), folder)
    return build_model(Checkpoint(folder)).entries["forward"]


def test_a_value_stays_until_its_last_use(graph: Graph) -> None:
    """Run the plan with markers in place of numbers: each read must find what was written, through aliases."""
    planned = plan(graph)
    holds: dict[int, object] = {}
    content: dict[object, object] = {}
    for node in graph.nodes:
        for value in node.inputs:
            buffer = planned.buffer_of[value]
            assert buffer == -1 or holds[buffer] is content[value], f"{node} reads {value} after it was overwritten"
        for value in node.outputs:
            same = node.op == "reshape" and planned.buffer_of[node.inputs[0]] == planned.buffer_of[value]
            content[value] = content.get(node.inputs[0], node.inputs[0]) if same else value
            holds[planned.buffer_of[value]] = content[value]
    for value in graph.outputs.values():
        assert holds[planned.buffer_of[value]] is content[value]


def test_buffers_do_not_overlap_and_hold_their_values(graph: Graph) -> None:
    planned = plan(graph)
    assert len(planned.sizes) < len(graph.nodes) / 3
    for symbols in ({"T": 1, "R": 1, "S": 1, "P": 1}, {"T": 37, "R": 5, "S": 3, "P": 1}):
        offsets, total = planned.offsets(symbols)
        ends = [*offsets[1:], total]
        assert all(offset % ALIGNMENT == 0 for offset in offsets)
        for node in graph.nodes:
            for value in node.outputs:
                buffer = planned.buffer_of[value]
                room = ends[buffer] - offsets[buffer] if buffer >= 0 else None
                assert room is None or 4 * resolve(elements(value.shape), symbols) <= room
        assert all(a < b for a, b in itertools.pairwise([*offsets, total]))


def test_sizes_are_linear() -> None:
    assert str(2 * T + R + 3) == "R+2T+3"
    assert (4 * T) // 2 == 2 * T
    assert T + (-1) * T == 0
    assert resolve(Dim((("T", 2),), 1), {"T": 5}) == 11
    with pytest.raises(ValueError, match="two open sizes"):
        elements((T, R))
    with pytest.raises(ValueError, match="does not divide"):
        _ = T // 2


def test_shape_rules_refuse_what_does_not_fit() -> None:
    b = Builder("forward")
    x = b.input("x", (T, 8))
    with pytest.raises(ValueError, match="reshape"):
        b.reshape(x, T, 3, 3)
    with pytest.raises(ValueError, match="add up"):
        b.split(x, 4, 5)
    with pytest.raises(ValueError, match="broadcast"):
        b.add(x, b.input("y", (T, 7)))
    with pytest.raises(ValueError, match="unknown activation"):
        b.activation(x, "wishful")


def test_an_unknown_tap_is_refused(graph: Graph) -> None:
    with pytest.raises(RequestError, match="hidden:99"):
        tap(graph, ["hidden:99"])
    assert len(tap(graph, ["hidden:1"]).nodes) < len(graph.nodes)
