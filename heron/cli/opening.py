"""The model that a command runs."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heron.cli.prompt import note
from heron.engine.loading import load
from heron.engine.model import Model
from heron.errors import CheckpointError, HubError


def open_model(model: str | None, say: Callable[[str], None] = note, **options: Any) -> Model:
    """``heron.load`` of the path, or of the pocket model; warnings are said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load(locate(model), **options)
    gc.enable()  # see main()
    for warning in caught:
        say(str(warning.message))
    if loaded.where.left_open and loaded.device != "cpu":
        say(f"computing on {loaded.device}; --no-gpu computes on the CPU")
    own = loaded.graph_model.context_length
    if not options.get("ctx_size") and loaded.context_length < own:
        say(f"the context is reduced from {own} to {loaded.context_length} tokens, to fit in memory")
    return loaded


def locate(model: str | None) -> Path:
    """The model's path; one that is named as on the hub is pulled, if it is not in the cache. Raises CheckpointError, HubError."""
    if model is None:
        from heron import pocket

        path = pocket.path()
        if not path.exists():
            raise CheckpointError("the pocket model is not part of this installation; name a model: heron run MODEL")
        return path
    path = Path(os.path.expanduser(model))
    if path.exists():
        return path
    from heron.cli.pulling import PullBar
    from heron.hub.names import nearest
    from heron.hub.pull import locate as on_hub

    try:
        with PullBar() as bar:
            found = on_hub(model, watch=bar)
    except HubError as error:
        if path.parent != Path(".") and path.parent.is_dir():  # it was meant to be a path, perhaps
            raise HubError(f"there is no file or folder {model!r}, and {error}") from None
        raise
    if found is None:
        raise CheckpointError(
            f"there is no model at {model!r}{nearest(model)}; "
            "give a GGUF file, a folder with config.json and safetensors, or a name: ORG/NAME, or one that `heron list --aliases` shows"
        )
    return found
