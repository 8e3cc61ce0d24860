"""Recorded steps of Triton's kernels: what they launch depends on shapes alone. As test_torch_capture.py, with these kernels."""

from __future__ import annotations

import numpy as np
import parity
import pytest

pytest.importorskip("triton")

import torch
from device import DEVICE
from test_torch_capture import Again
from toy import Sequences, toy
from triton_cases import interpreted

from heron.backends import reference
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.torch import capture


@pytest.mark.slow  # the interpreter takes a millisecond for each program
@(interpreted if DEVICE == "cpu" else lambda test: test)
def test_replayed_steps_compute_what_the_reference_does() -> None:
    """More rows than experts too, which torch's own kernel would count on the host."""
    model, options = toy("Q8_0", 2), Options(kv_dtype="f32")
    tokens = [np.random.default_rng(s).integers(0, 90, 12).astype(np.int32) for s in range(3)]
    recorder, found = Again(capture.recorder(torch.device(DEVICE))), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "recorder", lambda device: recorder)
        for backend in (on_torch, reference):
            sequences = Sequences(backend.prepare(model, options=options), model, tokens)
            steps = [sequences.run(counts) for counts in ({0: 3, 1: 6, 2: 2}, {0: 1, 1: 1, 2: 1}, {2: 2, 1: 2}, {2: 1, 1: 1, 0: 1})]
            found.append(np.concatenate([logits for step in steps for logits in step.values()]))
    assert parity.difference(*found) <= parity.TOLERANCE
    assert (recorder.recorded, recorder.replayed) == (2, 3)
