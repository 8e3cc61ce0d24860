"""State of fixed size a sequence: convolutions and delta rules against torch, and their slots, read and written in any order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options
from heron.backends.batch import Batch
from heron.checkpoint.views import Const
from heron.errors import BackendError, UnsupportedError
from heron.graph.builder import Builder
from heron.graph.dims import P, T
from heron.graph.graph import Field, Group, Model, Weight

VOCAB, KEY_HEADS, VALUE_HEADS, KEY, VALUE, KERNEL = 23, 2, 4, 5, 3, 4
WIDTHS = (KEY_HEADS * KEY, KEY_HEADS * KEY, VALUE_HEADS * VALUE, VALUE_HEADS, VALUE_HEADS)
CHANNELS = sum(WIDTHS)
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((VOCAB, CHANNELS)).astype(np.float32)
TAPS, BIAS = RNG.standard_normal((CHANNELS, KERNEL)).astype(np.float32) / 2, RNG.standard_normal(CHANNELS).astype(np.float32) / 2
ROOMS = 12

Logits = NDArray[np.float32]


def recurrent_model() -> Model:
    """Tokens -> embeddings -> causal_conv -> q, k, v, decay and beta -> delta_rule [R, heads, value dim]."""
    b, group = Builder("forward"), Group("recurrent", "slot")
    tokens = b.input("tokens", (T,), "i32")
    b.input("positions", (P, T), "i32")
    x = b.embed(tokens, Weight("table", Const(TABLE)))
    window = b.state("window", group, window=Field((KERNEL - 1, CHANNELS), "f32"))
    x = b.causal_conv(x, Weight("taps", Const(TAPS)), Weight("bias", Const(BIAS)), window)
    q, k, v, decay, beta = b.split(x, *WIDTHS)
    q, k = (b.rms_norm(b.reshape(each, T, KEY_HEADS, KEY), None, 1e-6) for each in (q, k))
    k = b.scale(k, KEY**-0.5)
    decay = b.scale(b.activation(decay, "softplus"), -0.4)
    matrix = b.state("matrix", group, matrix=Field((VALUE_HEADS, KEY, VALUE), "f32"))
    y = b.delta_rule(q, k, b.reshape(v, T, VALUE_HEADS, VALUE), decay, b.activation(beta, "sigmoid"), matrix)
    return Model("recurrent", {"forward": b.finish(logits=b.rows(b.reshape(y, T, VALUE_HEADS * VALUE)))}, 1024, VOCAB, CHANNELS)


def expected(tokens: Sequence[int]) -> Logits:
    """What torch's convolution and transformers' delta rule make of a whole sequence: [T, heads * value dim]."""
    x = torch.from_numpy(TABLE)[list(tokens)].T[None]
    x = torch.nn.functional.pad(x, (KERNEL - 1, 0))
    x = torch.nn.functional.conv1d(x, torch.from_numpy(TAPS)[:, None], torch.from_numpy(BIAS), groups=CHANNELS)[0].T
    q, k, v, decay, beta = torch.split(x, WIDTHS, dim=-1)
    q, k = (torch.nn.functional.rms_norm(each.reshape(-1, KEY_HEADS, KEY), (KEY,), eps=1e-6) for each in (q, k))
    q, k = q * KEY**0.5, k * KEY**-0.5  # the rule there divides q by sqrt(key dim)
    q, k = (each.repeat_interleave(VALUE_HEADS // KEY_HEADS, dim=1) for each in (q, k))
    g = -0.4 * torch.nn.functional.softplus(decay)
    parts = (each[None] for each in (q, k, v.reshape(-1, VALUE_HEADS, VALUE), g, beta.sigmoid()))
    y, _ = torch_recurrent_gated_delta_rule(*parts, initial_state=None, output_final_state=False)
    return y.reshape(len(tokens), -1).numpy()


BACKENDS = [reference, pytest.param(native, marks=pytest.mark.skipif(not native.available(), reason="the core is not compiled")), on_torch]


@pytest.fixture(params=BACKENDS, ids=["reference", "native", "torch"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def executable(backend: Any) -> Executable:
    ready = backend.prepare(recurrent_model(), options=Options(kv_dtype="f16"))  # recurrent states are f32 whatever this says
    ready.allocate({"recurrent": ROOMS})
    return ready


def random_tokens(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


def run(executable: Executable, parts: Sequence[Sequence[int]], before: Sequence[int], **slots: Any) -> list[Logits]:
    """A step of these tokens, each sequence's after ``before`` others; the outputs of each sequence."""
    lengths = [len(part) for part in parts]
    cuts = np.cumsum([0, *lengths]).astype(np.int32)
    batch = Batch(
        tokens=np.concatenate([np.asarray(part, np.int32) for part in parts]),
        query_start=cuts,
        context_len=np.add(before, lengths).astype(np.int32),
        rows=np.arange(cuts[-1], dtype=np.int32),
        **{name: np.asarray(value, np.int32) for name, value in slots.items()},
    )
    logits = executable.run("forward", batch)["logits"]
    return [logits[a:b] for a, b in itertools.pairwise(cuts)]


def close(got: Logits, want: Logits) -> None:
    assert want.std() > 0.1
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_whole_sequences_beside_each_other(executable: Executable) -> None:
    """None leaves a state, and none sees another's."""
    parts = [random_tokens(n, n) for n in (1, 17, 3)]
    for got, part in zip(run(executable, parts, [0, 0, 0]), parts, strict=True):
        close(got, expected(part))


@pytest.mark.parametrize("sizes", [(1,) * 12, (1, 2, 3, 6), (9, 3)], ids=str)
def test_steps_of_any_size(executable: Executable, sizes: tuple[int, ...]) -> None:
    """Shorter than the convolution's window, and longer; the numbers are the same, to the last bit where sums do not depend on the step."""
    tokens, at, got = random_tokens(12, 0), 0, []
    for size in sizes:
        got += run(executable, [tokens[at : at + size]], [at], slot_read=[7 if at else 0], slot_write=[[7]])
        at += size
    close(np.concatenate(got), expected(tokens))
    at_once = run(executable, [tokens], [0])[0]
    if "delta_rule" not in executable.batch_dependent:
        np.testing.assert_array_equal(np.concatenate(got), at_once)
    close(np.concatenate(got), at_once)


def test_slot_zero_begins_anew(executable: Executable) -> None:
    """Whatever padding has written to the null slot is not read."""
    run(executable, [random_tokens(9, 1)], [0], slot_write=[[3]])
    executable.copy("recurrent", 3, 0)
    tokens = random_tokens(6, 2)
    close(run(executable, [tokens], [0], slot_read=[0], slot_write=[[3]])[0], expected(tokens))


def test_snapshots_inside_a_step(executable: Executable) -> None:
    """Each slot holds the state after its own number of tokens: none, some, all; several may have the same; null ones are skipped."""
    before, tokens, offsets = random_tokens(2, 11), random_tokens(8, 3), [8, 0, 3, 8, 5, 8]
    slots = [4, 9, 2, 11, 6, 0]
    run(executable, [before], [0], slot_write=[[4]])
    run(executable, [tokens], [2], slot_read=[4], slot_write=[slots], slot_offset=[offsets])
    more = random_tokens(5, 4)
    for slot, offset in zip(slots[:-1], offsets[:-1], strict=True):
        (got,) = run(executable, [more], [2 + offset], slot_read=[slot])
        close(got, expected(before + tokens[:offset] + more)[2 + offset :])


def test_a_step_may_write_the_slot_that_another_sequence_reads(executable: Executable) -> None:
    """All reads come before all writes, so two sequences may even change places."""
    first, second, more = random_tokens(6, 5), random_tokens(4, 6), random_tokens(3, 7)
    run(executable, [first, second], [0, 0], slot_write=[[1], [2]])
    run(executable, [more, more], [6, 4], slot_read=[1, 2], slot_write=[[2], [1]])
    got = run(executable, [more, more], [9, 7], slot_read=[2, 1])
    close(got[0], expected(first + more + more)[9:])
    close(got[1], expected(second + more + more)[7:])


def test_a_snapshot_is_read_again_and_again(executable: Executable) -> None:
    prefix = random_tokens(6, 8)
    run(executable, [prefix], [0], slot_write=[[5]])
    tails = [random_tokens(n, n) for n in (2, 7)]
    for _ in range(2):
        for got, tail in zip(run(executable, tails, [6, 6], slot_read=[5, 5], slot_write=[[1], [2]]), tails, strict=True):
            close(got, expected(prefix + tail)[6:])


def test_slots_move(executable: Executable, backend: Any) -> None:
    """A copied slot, and one exported to another executable, go on alike."""
    tokens, more = random_tokens(7, 9), random_tokens(4, 10)
    run(executable, [tokens], [0], slot_write=[[3]])
    executable.copy("recurrent", 3, 8)
    run(executable, [more], [7], slot_read=[3], slot_write=[[3]])
    close(run(executable, [more], [7], slot_read=[8])[0], expected(tokens + more)[7:])
    (group,) = executable.state_groups
    data = executable.export("recurrent", [8])
    assert (group.kind, group.unit_bytes) == ("slot", len(data))
    other = backend.prepare(recurrent_model())
    other.allocate({"recurrent": ROOMS})
    other.import_("recurrent", [1], data)
    close(run(other, [more], [7], slot_read=[1])[0], expected(tokens + more)[7:])


def test_an_offset_outside_of_the_step_is_refused(executable: Executable) -> None:
    with pytest.raises(BackendError, match="slot_offset"):
        run(executable, [[1, 2, 3]], [0], slot_write=[[1]], slot_offset=[[4]])
    with pytest.raises(BackendError, match="slot_write"):
        run(executable, [[1, 2, 3]], [0], slot_write=[[1], [2]], slot_offset=[[3], [3]])


def test_a_tree_of_drafts_is_refused(executable: Executable) -> None:
    with pytest.raises(UnsupportedError, match="tree"):
        run(executable, [[1, 2, 3]], [0], parents=[-1, 0, 0])
