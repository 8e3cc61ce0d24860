"""Families by GGUF architecture name, and the way from a checkpoint to a model."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Protocol

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.hf import HFMapping, register
from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import Model
from heron.models.builder import Weights
from heron.models.params import Params


class Blueprint(Protocol):
    """What a family makes of the hyperparameters: blocks, which know how to become a model."""

    def model(self, p: Params, weights: Weights) -> Model: ...


Build = Callable[[Params], Blueprint]
FAMILIES: dict[str, Build] = {}


def family(architecture: str, **hf: HFMapping) -> Callable[[Build], Build]:
    """Register the decorated function as the family of a GGUF architecture.

    Each keyword names a ``model_type`` of a HF ``config.json`` and says how such a folder is shown as if it were GGUF.
    """

    def decorate(build: Build) -> Build:
        FAMILIES[architecture] = build
        for model_type, mapping in hf.items():
            register(model_type, mapping)
        return build

    return decorate


def load_families(architecture: str | None = None) -> None:
    """Import every family file, so that it registers itself; or, where one is named after the architecture, at least that."""
    package = importlib.import_module("heron.models.families")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    named = (architecture or "").replace("-", "_")
    if named in names:
        importlib.import_module(f"heron.models.families.{named}")
    if architecture not in FAMILIES:
        for name in names:
            importlib.import_module(f"heron.models.families.{name}")


def build_model(checkpoint: Checkpoint) -> Model:
    """The model that a checkpoint holds.

    Raises UnsupportedError for an architecture that no family file describes, CheckpointError where tensors or
    metadata are missing, wrong, or left over.
    """
    load_families(checkpoint.architecture)
    build = FAMILIES.get(checkpoint.architecture)
    if build is None:
        raise UnsupportedError(
            f"{checkpoint.path}: architecture {checkpoint.architecture!r} is not supported; known are {', '.join(sorted(FAMILIES))}"
        )
    weights = Weights(checkpoint)
    params = Params(checkpoint.metadata, checkpoint.architecture, str(checkpoint.path))
    model = build(params).model(params, weights)
    left = sorted(set(checkpoint.tensors) - weights.used)
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise CheckpointError(
            f"{checkpoint.path}: tensors {', '.join(left[:3])}{more} belong to nothing that this {checkpoint.architecture} model computes; "
            "the file is damaged, or of a variant that is not supported"
        )
    if uncovered := weights.uncovered():
        raise CheckpointError(
            f"{checkpoint.path}: {', '.join(uncovered[:3])}: the sizes in the metadata do not add up to the rows of a tensor "
            "that holds several weights"
        )
    return model
