"""Ranks that share a model, as threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import parity

from heron.backends import reference
from heron.backends.base import LocalRanks, Options, Placement
from heron.graph.graph import Model
from heron.graph.passes.shard import shard


def in_ranks(
    model: Model, ranks: int, work: Callable[[Any], Any], runner: Callable[..., Any] = parity.Runner, backend: Any = reference
) -> list[Any]:
    """What ``work`` returns on each of the ranks, which are threads, given a runner of the rank's part."""
    group, results = LocalRanks(ranks), [None] * ranks

    def run(rank: int) -> None:
        def prepare(part: Model, options: Options) -> Any:
            return backend.prepare(part, Placement(rank=rank, ranks=ranks, communicator=group.communicator(rank)), options)

        try:
            results[rank] = work(runner(shard(model, rank, ranks), prepare))
        except BaseException:
            group.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
