"""The reference backend: each op's meaning in plain numpy. The oracle of the tests, and what runs where no core is compiled."""

from __future__ import annotations

from heron.backends.base import Options, Placement
from heron.backends.reference.executable import ReferenceExecutable
from heron.graph.graph import Model

name = "reference"


def prepare(model: Model, placement: Placement = Placement(), options: Options = Options()) -> ReferenceExecutable:
    return ReferenceExecutable(model, placement, options)
