"""A step under way: what it leaves on the device for the next one, and what comes to the host when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from heron.backends.base import Result, Ticket
from heron.backends.sampling import Sampling
from heron.backends.torch.plan import NONFINITE
from heron.backends.torch.sample import choose
from heron.errors import BackendError, DeviceFull


class OnDevice(Ticket):
    """A step that the device is computing, or has computed: its outputs, of which those named ``want`` are for the host.

    ``tokens``, int32 [R], are those that it sampled, as inputs of another step: tokens of the vocabulary, even where a row is damaged.
    """

    def __init__(self, values: Mapping[str, Tensor], want: Sequence[str], sample: Sampling | None = None) -> None:
        self._values = {name: _Coming(values[name].float()) for name in want}
        damaged = values.get(NONFINITE, torch.zeros(0, dtype=torch.bool)).int()
        if sample is None:
            self._facts = _Coming(damaged[None])
        else:
            tokens, logprobs = choose(values["logits"], sample)
            self.tokens = tokens.clamp(min=0)
            self._facts = _Coming(torch.stack([damaged, tokens, logprobs.view(torch.int32)]))

    def result(self) -> Result:
        try:
            facts = self._facts.numpy()
            arrays = {name: value.numpy() for name, value in self._values.items()}
        except RuntimeError as error:
            raise failed(error) from error
        return Result(arrays, facts[0].astype(np.bool_), *((facts[1], facts[2].view(np.float32)) if len(facts) > 1 else ()))


def sampled(ticket: Ticket) -> Tensor:
    """The tokens that an earlier step of this backend sampled, int32 [its rows], on the device."""
    assert isinstance(ticket, OnDevice)
    return ticket.tokens


class _Coming:
    """An array on its way to the host, which sets out at once: what steps that are submitted later write does not matter to it."""

    def __init__(self, values: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        cuda = values.device.type == "cuda"
        self._host = torch.empty(values.shape, dtype=values.dtype, device="cpu", pin_memory=cuda).copy_(values, non_blocking=cuda)
        if cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def numpy(self) -> np.ndarray:
        if self._arrived is not None:
            self._arrived.synchronize()
        found: np.ndarray = self._host.numpy()
        return found


def failed(error: RuntimeError) -> BackendError:
    if isinstance(error, torch.OutOfMemoryError):
        return DeviceFull(
            f"the device's memory is full: {str(error).splitlines()[0]} Ask for a smaller --ctx-size, shorter steps or fewer sequences"
        )
    return BackendError(f"torch failed: {error}")
