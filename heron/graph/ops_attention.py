"""Shape rules of attention: positions, writing keys and values, attending to them; the same for latent attention."""

from __future__ import annotations

from heron.graph.dims import shape_str
from heron.graph.ops import check, op
from heron.graph.ops_core import Attrs, Shapes, Weights


@op("rope")
def _rope(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, H, D], positions i32[P, T]; frequencies [n] -> [T, H, D] with the first 2n elements of each head rotated.

    Su et al. 2021. ``pairing`` says which elements turn together: ``adjacent`` (2i, 2i+1) or ``half`` (i, i+n);
    ``scale`` multiplies cosine and sine (YaRN's attention factor). With ``sections``, frequency i reads the
    position axis that its section names (multimodal rope).
    """
    assert weights[0] is not None
    check(attrs["pairing"] in ("adjacent", "half"), f"unknown rope pairing {attrs['pairing']!r}")
    head_dim = inputs[0][-1]
    check(isinstance(head_dim, int) and 2 * weights[0].shape[0] <= head_dim, f"rope turns more than {shape_str(inputs[0])} has")
    return (inputs[0],)


@op("kv_write")
def _kv_write(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """k [T, Hkv, Dk], v [T, Hkv, Dv] -> nothing: written to the state at each token's place in its sequence.

    In a ``cross`` group the places count the tokens of the encoder's input.
    """
    check(inputs[0][:2] == inputs[1][:2], f"keys {shape_str(inputs[0])} and values {shape_str(inputs[1])} differ")
    return ()


@op("attend")
def _attend(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q [T, H, Dk] (reading a state), or q, k, v of this step -> [T, H, Dv]: softmax(scale q k + bias) v.

    Grouped queries: H is a multiple of Hkv, and query head h reads head h // (H / Hkv). Attributes: ``scale``;
    ``causal``; ``window`` > 0 (a token sees the last ``window`` tokens, itself included; both sides when not
    causal); ``softcap`` > 0 (cap tanh(x / cap)); ``buckets``, ``max_distance`` and ``bidirectional`` of
    weight 1. Weights: 0 sinks [H] or none (a logit in the denominator that has no value); 1 relative bias
    [buckets, H] or none (Raffel et al. 2020); 2 slopes [H] or none (ALiBi, Press et al. 2021: slope times the distance
    is taken from each score).
    """
    if len(inputs) == 1:
        return ((*inputs[0][:2], attrs["value_dim"]),)
    check(inputs[1][-1] == inputs[0][-1], f"queries {shape_str(inputs[0])} and keys {shape_str(inputs[1])} differ")
    return ((*inputs[0][:2], inputs[2][-1]),)


@op("latent_write")
def _latent_write(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """latent [T, rank], rope key [T, Dr] -> nothing: written to the state (DeepSeek-AI 2024, multi-head latent attention)."""
    return ()


@op("latent_attend")
def _latent_attend(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q_nope [T, H, Dn], q_rope [T, H, Dr] (reading a state), or these and latent [T, rank], rope key [T, Dr] of this step;
    key up-projection [H, rank, Dn], value up-projection [H, Dv, rank] -> [T, H, Dv].

    ``form`` is ``absorbed`` (queries and outputs go through the up-projections, attention runs on the latents),
    ``expanded`` (keys and values are made from the latents) or ``auto`` (the kernel chooses for each sequence).
    """
    key_up, value_up = weights
    assert key_up is not None and value_up is not None
    heads = (key_up.shape[0], value_up.shape[0])
    check(heads == (inputs[0][1],) * 2, f"{key_up.name} and {value_up.name} have {heads} heads, queries {shape_str(inputs[0])}")
    check(attrs["form"] in ("auto", "absorbed", "expanded"), f"unknown form {attrs['form']!r} of latent attention")
    return ((*inputs[0][:2], value_up.shape[1]),)
