"""Rotary position embedding and the ways its frequencies are stretched to longer contexts.

Everything a scaling does ends up in two things: a frequency for each pair, and one factor on cosine and sine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import State, Value, Weight
from heron.models.builder import ModelBuilder
from heron.models.params import Params

#: Longrope's divisors for contexts longer than the original one, and for others. Which is the model's, not the prompt's, context:
#: keys in the cache must not change their frequencies as a sequence grows.
LONG_SHORT = ("rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class Scaling:
    """No scaling. The subclasses change frequencies and the magnitude."""

    def frequencies(self, plain: list[float], theta: float) -> list[float]:
        return plain

    @property
    def magnitude(self) -> float:
        """On cosine and sine."""
        return 1.0

    @property
    def sharpness(self) -> float:
        """On all scores, where a family asks for it: also on what comes from elements that do not turn."""
        return 1.0


@dataclass(frozen=True)
class Linear(Scaling):
    """Positions divided by ``factor`` (Chen et al. 2023)."""

    factor: float

    def frequencies(self, plain: list[float], theta: float) -> list[float]:
        return [f / self.factor for f in plain]


@dataclass(frozen=True)
class Long(Scaling):
    """LongRoPE (Ding et al. 2024): a divisor for each frequency, from a tensor, and a factor on cosine and sine."""

    attention_factor: float

    @property
    def magnitude(self) -> float:
        return self.attention_factor


@dataclass(frozen=True)
class Yarn(Scaling):
    """YaRN (Peng et al. 2023): slow pairs are interpolated, fast ones kept, with a ramp between.

    ``attention_factor`` 0 means the paper's ``0.1 ln(factor) + 1``. ``log_multiplier`` (0.1 times what configurations call
    mscale_all_dim) makes a factor on each side of all scores: ``log_multiplier ln(factor) + 1``. ``truncate``: the ramp
    begins and ends at whole pairs.
    """

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0
    log_multiplier: float = 0.0
    truncate: bool = True

    @staticmethod
    def read(p: Params, truncate: bool = True) -> Yarn:
        """From ``rope.scaling.*``: ``yarn_attn_factor`` is the whole factor, ``attn_factor`` a multiple of the paper's."""
        yarn = Yarn(
            p.number("rope.scaling.factor"),
            p.integer("rope.scaling.original_context_length", least=1),
            p.number("rope.scaling.yarn_beta_fast", 32.0),
            p.number("rope.scaling.yarn_beta_slow", 1.0),
            truncate=p.flag("rope.scaling.yarn_truncate", truncate),
        )
        if p.has("rope.scaling.yarn_attn_factor"):
            return replace(yarn, attention_factor=p.number("rope.scaling.yarn_attn_factor"))
        if p.has("rope.scaling.attn_factor"):
            return replace(yarn, attention_factor=p.number("rope.scaling.attn_factor") * yarn.magnitude)
        return yarn

    def frequencies(self, plain: list[float], theta: float) -> list[float]:
        dims = 2 * len(plain)

        def pair_that_turns(times: float) -> float:
            return dims * math.log(self.original_context / (times * 2 * math.pi)) / (2 * math.log(theta))

        first, last = pair_that_turns(self.beta_fast), pair_that_turns(self.beta_slow)
        low = max(math.floor(first) if self.truncate else first, 0)
        high = min(math.ceil(last) if self.truncate else last, dims - 1)
        width = max(high - low, 0.001)
        stretched = []
        for i, f in enumerate(plain):
            ramp = min(max((i - low) / width, 0.0), 1.0)
            stretched.append(f * (1 - ramp) + f / self.factor * ramp)
        return stretched

    @property
    def magnitude(self) -> float:
        return self.attention_factor or 0.1 * self._stretch + 1.0

    @property
    def sharpness(self) -> float:
        return (self.log_multiplier * self._stretch + 1.0) ** 2

    @property
    def _stretch(self) -> float:
        return math.log(max(self.factor, 1.0))


@dataclass(frozen=True)
class Rope:
    """Su et al. 2021. ``dims`` elements of each head turn; ``pairing`` is ``adjacent`` or ``half`` as GGUF stores the family.

    ``divisors`` are names of tensors with one divisor for each frequency: the first that the checkpoint has is used
    (a scaling by wave length, longrope's factors).
    """

    dims: int
    theta: float
    pairing: str
    scaling: Scaling = Scaling()
    divisors: tuple[str, ...] = ("rope_freqs.weight",)

    @staticmethod
    def read(p: Params, head_dim: int, pairing: str, truncate: bool = True) -> Rope:
        """From the usual metadata keys (``rope.*``); ``truncate`` is YaRN's where they do not say.

        Files with longrope's factors may leave its name out, and some do.
        """
        kind = p.text("rope.scaling.type", "longrope" if p.has("rope.scaling.attn_factor") else "none")
        divisors = Rope.divisors
        scaling: Scaling
        if kind == "none":
            scaling = Scaling()
        elif kind == "longrope":
            scaling = Long(p.number("rope.scaling.attn_factor", 1.0))
            beyond = p.context_length > p.integer("rope.scaling.original_context_length", p.context_length, least=1)
            divisors = (*divisors, *(LONG_SHORT if beyond else reversed(LONG_SHORT)))
        elif kind == "linear":
            scaling = Linear(p.number("rope.scaling.factor"))
        elif kind == "yarn":
            scaling = Yarn.read(p, truncate)
        else:
            raise UnsupportedError(f"{p.where}: rope scaling {kind!r} is not supported; known are none, linear, longrope and yarn")
        dims, theta = p.integer("rope.dimension_count", head_dim, least=2), p.number("rope.freq_base", 10000.0)
        return Rope(dims, theta, pairing, scaling, divisors)

    def paired(self, pairing: str) -> Rope:
        return replace(self, pairing=pairing)

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, H, D] turned by the batch's positions."""
        return b.rope(x, b.inputs["positions"], self._frequencies(b, x), self.pairing, self.scaling.magnitude)

    def attention(
        self, b: ModelBuilder, query: Value, key: Value, value: Value, state: State, weights: Sequence[Weight | None], **attrs: Any
    ) -> Value:
        """The op ``attention`` with these attributes, of queries and keys that are turned first."""
        positions, frequencies = b.inputs["positions"], self._frequencies(b, query)
        attrs |= {"pairing": self.pairing, "rope_scale": self.scaling.magnitude}
        return b.rope_attention(query, key, value, positions, frequencies, state, weights, **attrs)

    def _frequencies(self, b: ModelBuilder, x: Value) -> Weight:
        """[dims / 2] what rope turns the heads of x by."""
        path, size = b.weights.checkpoint.path, x.shape[-1]
        if not isinstance(size, int) or self.dims > size:
            raise CheckpointError(f"{path}: rope turns {self.dims} elements of a head of {size}; the metadata are damaged")
        plain = [self.theta ** (-2 * i / self.dims) for i in range(self.dims // 2)]
        tensors = {name: tensor for name in self.divisors if (tensor := b.weights.tensor(name)) is not None}
        for name, tensor in tensors.items():
            if tensor.size != len(plain):
                raise CheckpointError(f"{path}: {name} holds {tensor.size} divisors; rope turns {len(plain)} pairs")
        if tensors:
            first = next(iter(tensors.values()))
            plain = [f / float(d) for f, d in zip(plain, first.numpy().ravel(), strict=True)]
        values = self.scaling.frequencies(plain, self.theta)
        label = f"rope.{self.theta:g}" + ("" if type(self.scaling) is Scaling else f".{type(self.scaling).__name__.lower()}")
        return b.constant(label, values)
