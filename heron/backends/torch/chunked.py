"""Recurrent mixers without states, for gradients: whole sequences from zeros, in products of chunks instead of token by token.

Within a chunk the recurrence is unrolled into masked products, all chunks at once; from chunk to chunk the state is carried.
Decays are differences of running sums, never quotients of running products, so that nothing overflows. In f32. Shapes and
meanings: heron/graph/ops_recurrent.py; Dao and Gu 2024 (state space duality), Yang et al. 2024 (gated delta rule).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from heron.backends.torch.step import Kernel, Step, given, weight
from heron.backends.torch.views import equally_long
from heron.graph.graph import Node

#: Tokens that are unrolled together.
CHUNK = 64


def _by_length(step: Step, out: Tensor, mix: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """``mix`` of the inputs [G, n, ...] of sequences with equally many tokens, in the order of the step's tokens."""
    y = torch.zeros_like(out)
    for part in equally_long(step):
        y = y.index_put((part.at,), mix(*(x[part.at].float() for x in inputs)).to(y.dtype))
    return (y,)


def _chunks(x: Tensor, size: int) -> Tensor:
    """[G, n, H, ...] -> [G, H, C, size, ...], zeros behind the last token."""
    n = x.shape[1]
    padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, -n % size))
    return padded.unflatten(1, (-1, size)).movedim(3, 1)


def _tokens(y: Tensor, n: int) -> Tensor:
    """[G, H, C, Q, D] -> [G, n, H, D]."""
    return y.movedim(1, 3).flatten(1, 2)[:, :n]


def _between(total: Tensor, strict: bool = False) -> Tensor:
    """Running sums of log decays [..., Q] -> [..., Q, Q] the decay from token j to token i, 0 where j is later (or not earlier)."""
    later = torch.ones(total.shape[-1], total.shape[-1], dtype=torch.bool, device=total.device).tril(-1 if strict else 0)
    return (total[..., :, None] - total[..., None, :]).masked_fill(~later, -torch.inf).exp()


def causal_conv(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    taps, bias = given(step, node, 0), weight(step, node, 1)  # [C, K]

    def mix(x: Tensor) -> Tensor:
        before = functional.pad(x.transpose(1, 2), (taps.shape[1] - 1, 0))
        return functional.conv1d(before, taps[:, None], bias, groups=len(taps)).transpose(1, 2)

    return _by_length(step, x, mix, x)


def selective_scan(step: Step, node: Node, x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, ...]:
    rate, share = given(step, node, 0), x.shape[1] // write.shape[1]

    def mix(x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> Tensor:
        write, read = (w.repeat_interleave(share, 2) for w in (write, read))
        scan = by_head if rate.shape[1] == 1 else by_number
        return scan(dt[..., None] * x, dt[..., None] * rate, write, read)

    return _by_length(step, x, mix, x, dt, write, read)


def by_head(x: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """x [G, n, H, P], log decays [G, n, H, 1], B and C [G, n, H, N] -> [G, n, H, P]: one decay for each head's state."""
    n = x.shape[1]
    x, decay, write, read = (_chunks(each, min(CHUNK, n)) for each in (x, decay, write, read))
    total = decay[..., 0].cumsum(-1)  # [G, H, C, Q]
    y = (read @ write.transpose(-1, -2) * _between(total)) @ x
    left = ((total[..., -1:] - total).exp()[..., None] * x).transpose(-1, -2) @ write  # [G, H, C, P, N] what a chunk adds to the state
    state, carried = torch.zeros_like(left[:, :, 0]), []
    for c in range(left.shape[2]):
        carried.append(state)
        state = total[:, :, c, -1, None, None].exp() * state + left[:, :, c]
    y = y + (total.exp()[..., None] * read) @ torch.stack(carried, 2).transpose(-1, -2)
    return _tokens(y, n)


def by_number(x: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """As ``by_head``, with log decays [G, n, H, N], one for each number of the state, which no product of matrices can apply:
    chunks of about sqrt(n) tokens are scanned side by side, then what each one inherits is added."""
    n = x.shape[1]
    x, decay, write, read = (_chunks(each, max(1, round(n**0.5))) for each in (x, decay, write, read))
    total = decay.cumsum(3)  # [G, H, C, Q, N]
    added, kept = x[..., :, None] * write[..., None, :], decay.exp()[..., None, :]  # [G, H, C, Q, P, N], [G, H, C, Q, 1, N]
    state, states = torch.zeros_like(added[:, :, :, 0]), []
    for i in range(added.shape[3]):
        state = kept[:, :, :, i] * state + added[:, :, :, i]
        states.append(state)
    before, carried = torch.zeros_like(state[:, :, 0]), []
    for c in range(state.shape[2]):
        carried.append(before)
        before = total[:, :, c, -1, None].exp() * before + state[:, :, c]
    inherited = total.exp()[..., None, :] * torch.stack(carried, 2)[:, :, :, None]
    return _tokens(((torch.stack(states, 3) + inherited) @ read[..., None])[..., 0], n)


def delta_rule(step: Step, node: Node, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    share = v.shape[1] // q.shape[1]

    def mix(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
        q, k = (each.repeat_interleave(share, 2) for each in (q, k))
        return corrected(q, k, v, g[..., None], beta[..., None])

    return _by_length(step, v, mix, q, k, v, g, beta)


def corrected(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    """q, k [G, n, H, Dk], v [G, n, H, Dv], g, beta [G, n, H, 1] -> [G, n, H, Dv]: the gated delta rule.

    With D[i, j] the decay from token j to i and S what a chunk inherits, token i stores k[i] times
    u[i] = beta[i] (v[i] - D[i, start] S k[i] - sum over j < i of D[i, j] (k[i] k[j]) u[j]): a triangular system for all of u.
    """
    n = v.shape[1]
    q, k, v, g, beta = (_chunks(each, min(CHUNK, n)) for each in (q, k, v, g, beta))
    total = g[..., 0].cumsum(-1)  # [G, H, C, Q]
    since = total.exp()[..., None]
    system = beta * (k @ k.transpose(-1, -2)) * _between(total, strict=True)
    right = torch.cat([beta * v, beta * since * k], -1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    own, inherited = solved.split([v.shape[-1], k.shape[-1]], -1)
    scores = (q @ k.transpose(-1, -2)) * _between(total)
    kept = (total[..., -1:] - total).exp()[..., None] * k  # of each key, at the end of its chunk
    state, outputs = v.new_zeros(*v.shape[:2], k.shape[-1], v.shape[-1]), []
    for c in range(v.shape[2]):
        stored = own[:, :, c] - inherited[:, :, c] @ state
        outputs.append(scores[:, :, c] @ stored + (since * q)[:, :, c] @ state)
        state = since[:, :, c, -1:] * state + kept[:, :, c].transpose(-1, -2) @ stored
    return _tokens(torch.stack(outputs, 2), n)


#: Op -> its kernel for a node without a state.
CHUNKED: dict[str, Kernel] = {"causal_conv": causal_conv, "selective_scan": selective_scan, "delta_rule": delta_rule}
