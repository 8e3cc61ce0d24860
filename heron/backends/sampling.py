"""Sampling: how an executable that can chooses the tokens after a step's wanted rows, so that no logits leave the device."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

#: A sum of probabilities reaches ``top_p`` if it misses it by less: in which order it was added up must not matter.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Sampling:
    """One entry for each wanted row, [R]. Meanings, and the order of the steps, are those of docs/sampling.md:

    tokens of ``barred`` are no candidates; then top_k, top_p, min_p, temperature; then one of what is left is picked in the order of ids,
    by the random number of (seed, sample, position).
    """

    temperature: NDArray[np.float64]  #: 0 takes the likeliest, the lowest id among equals, and no other step
    top_k: NDArray[np.int64]  #: 0: all
    top_p: NDArray[np.float64]  #: 1: all
    min_p: NDArray[np.float64]  #: 0: all
    seed: NDArray[np.uint64]
    sample: NDArray[np.int64]  #: which of the answers with one seed
    position: NDArray[np.int64]  #: the place in its sequence of the token that is chosen
    barred: NDArray[np.int64]  #: [R, B] token ids; -1 where a row has fewer than another

    @property
    def greedy(self) -> NDArray[np.bool_]:
        """[R] which rows take the likeliest."""
        return self.temperature == 0

    def of(self, rows: NDArray[np.intp]) -> Sampling:
        """Of these rows alone."""
        return Sampling(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})
