"""The device that tests of the torch backend run on: a CPU, or what the environment's HERON_TEST_DEVICE names (``cuda``).

Elsewhere than on a CPU the type that is chosen by itself is half of f32, so that what is held to f32 asks for it here.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

DEVICE = os.environ.get("HERON_TEST_DEVICE", "cpu")


def use() -> None:
    """Have models that no test places elsewhere made ready on the device."""
    if DEVICE == "cpu":
        return
    from heron.backends import torch as on_torch
    from heron.backends.base import Options, Placement

    prepare = on_torch.prepare

    def placed(model: Any, placement: Placement = Placement(), options: Options = Options()) -> Any:
        where = replace(placement, device=DEVICE) if placement.device == "cpu" else placement
        return prepare(model, where, replace(options, dtype="f32") if options.dtype == "auto" else options)

    on_torch.prepare = placed


def on_device(test: Callable[..., None]) -> Callable[..., None]:
    """The test, which knows nothing of devices, with its tensors on this one: what it makes is made there, what numpy sees is copied."""
    import torch
    from torch import Tensor

    from_numpy, numpy = torch.from_numpy, Tensor.numpy

    def array(tensor: Tensor, dtype: Any = None, copy: Any = None) -> Any:
        found = numpy(tensor.detach().cpu())
        return found if dtype is None else found.astype(dtype)

    @functools.wraps(test)
    def there(*args: Any, **kwargs: Any) -> None:
        with (
            torch.device(DEVICE),
            patch.object(torch, "from_numpy", lambda values: from_numpy(values).to(DEVICE)),
            patch.object(Tensor, "numpy", lambda tensor, **_: numpy(tensor.detach().cpu())),
            patch.object(Tensor, "__array__", array),
        ):
            test(*args, **kwargs)

    return there
