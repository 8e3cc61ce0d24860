"""Open sizes: a dimension is an int, or linear in symbols that only a step knows (T tokens, R rows, S sequences)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dim:
    """A size linear in symbols: ``sum(factor * symbol) + const``, for example ``2*T`` or ``T + 1``."""

    terms: tuple[tuple[str, int], ...]
    const: int = 0

    def __add__(self, other: Size) -> Size:
        if isinstance(other, int):
            return Dim(self.terms, self.const + other)
        factors = dict(self.terms)
        for symbol, factor in other.terms:
            factors[symbol] = factors.get(symbol, 0) + factor
        return _simplest(factors, self.const + other.const)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Size:
        return _simplest({symbol: f * factor for symbol, f in self.terms}, self.const * factor)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Size:
        if any(f % divisor for _, f in self.terms) or self.const % divisor:
            raise ValueError(f"{self} does not divide by {divisor} for every value of its symbols")
        return _simplest({symbol: f // divisor for symbol, f in self.terms}, self.const // divisor)

    def __str__(self) -> str:
        parts = [symbol if factor == 1 else f"{factor}{symbol}" for symbol, factor in self.terms]
        return "+".join(parts + ([str(self.const)] if self.const else []))

    __repr__ = __str__


Size = int | Dim
Shape = tuple[Size, ...]

T = Dim((("T", 1),))  #: tokens in this step
R = Dim((("R", 1),))  #: rows whose logits are wanted
S = Dim((("S", 1),))  #: sequences in this step
P = Dim((("P", 1),))  #: axes of a position (1 for text)


def _simplest(factors: Mapping[str, int], const: int) -> Size:
    terms = tuple(sorted((s, f) for s, f in factors.items() if f))
    return Dim(terms, const) if terms else const


def resolve(size: Size, symbols: Mapping[str, int]) -> int:
    """The size in a step where each symbol has the given value."""
    if isinstance(size, int):
        return size
    return size.const + sum(factor * symbols[symbol] for symbol, factor in size.terms)


def resolve_shape(shape: Shape, symbols: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(resolve(size, symbols) for size in shape)


def elements(shape: Shape) -> Size:
    """The product of the sizes. At most one of them may be open, so that the product stays linear."""
    fixed, open_size = 1, None
    for size in shape:
        if isinstance(size, int):
            fixed *= size
        elif open_size is None:
            open_size = size
        else:
            raise ValueError(f"shape {shape_str(shape)} has two open sizes, so its number of elements is not linear")
    return fixed if open_size is None else open_size * fixed


def shape_str(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
