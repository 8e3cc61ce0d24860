"""Models with an encoder, run on three sequences at once: encoded in one step, and decoded in one where there is a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import parity

from heron.backends.batch import Batch

SOURCES = [parity.prompt(61, 21, 1), parity.prompt(61, 5, 2), parity.prompt(61, 13, 3)]
TARGETS = [[0, *parity.prompt(61, length, length)] for length in (16, 9, 4)]


class Encoded(parity.Runner):
    """Three sequences, encoded in one step, and decoded in one where there is a decoder."""

    def results(self, chosen: Sequence[int] = (0, 0, 0), want: str = "") -> list[parity.Logits]:
        """Of each sequence its hidden states, pooled vector, and logits (or the value that is wanted, of one entry)."""
        lengths = np.array([len(s) for s in SOURCES], np.int32)
        given: dict[str, Any] = {"cross": {"cross": self.tables["cross"]}} if "cross" in self.tables else {}
        starts = np.cumsum([0, *lengths]).astype(np.int32)
        adapters = np.array(chosen, np.int32)
        batch = Batch(np.concatenate(SOURCES).astype(np.int32), starts, lengths, np.zeros(0, np.int32), adapter=adapters, **given)
        outputs = tuple(self.model.entries["encode"].outputs)
        encoded = self.executable.run("encode", batch, (want,) if want else outputs).arrays
        found = list(np.split(encoded[want or "hidden"], starts[1:-1]))
        found += list(encoded.get("pooled", ()))
        if not want and "forward" in self.model.entries:
            decoded = self.step(dict(enumerate(TARGETS)), cross_len=lengths, adapter=adapters)
            found += [decoded[s]["logits"] for s in range(3)]
        return found


def differences(got: Sequence[parity.Logits], expected: Sequence[parity.Logits]) -> list[float]:
    assert len(got) == len(expected) >= 3
    return [parity.difference(g, e) for g, e in zip(got, expected, strict=True)]
