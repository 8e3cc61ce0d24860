"""The core's thread pool: every chunk once, errors reach the caller, forks and exits are survived, neighbours are borne."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import heron
from heron.backends import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")

ROOT = Path(heron.__file__).parents[1]  # where other processes find the same core


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("chunks", [0, 1, 2, 1000])
def test_every_chunk_runs_once(threads: int, chunks: int) -> None:
    from heron import _core

    seen: list[int] = []
    _core.Runtime(threads).parallel(chunks, seen.append)
    assert sorted(seen) == list(range(chunks))


def test_jobs_follow_each_other_whether_the_workers_spin_or_sleep() -> None:
    from heron import _core

    runtime = _core.Runtime(3)
    for pause in (0.0, 0.00004, 0.002):
        for _ in range(100):
            seen: list[int] = []
            runtime.parallel(5, seen.append)
            assert sorted(seen) == list(range(5))
            time.sleep(pause)


def test_workers_take_part() -> None:
    from heron import _core

    names = set()
    meet = threading.Barrier(2)

    def body(chunk: int) -> None:
        meet.wait(timeout=10)  # passes only when two threads are inside at once
        names.add(threading.get_ident())

    _core.Runtime(2).parallel(2, body)
    assert len(names) == 2


def test_an_error_reaches_the_caller_and_the_pool_goes_on() -> None:
    from heron import _core

    runtime = _core.Runtime(2)

    def fail(chunk: int) -> None:
        if chunk == 3:
            raise KeyError("chunk 3")

    with pytest.raises(KeyError, match="chunk 3"):
        runtime.parallel(100, fail)
    seen: list[int] = []
    runtime.parallel(10, seen.append)
    assert sorted(seen) == list(range(10))


def test_zero_threads_means_the_cores_that_may_be_used() -> None:
    from heron import _core

    code = "from heron import _core; print(_core.Runtime(0).threads)"
    assert 1 <= _core.Runtime(0).threads <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        one = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
        run = subprocess.run([sys.executable, "-c", one + code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_and_exits() -> None:
    code = """
import os
from heron import _core
runtime = _core.Runtime(3)
runtime.parallel(50, lambda chunk: None)
child = os.fork()
seen = []
runtime.parallel(50, seen.append)
assert sorted(seen) == list(range(50))
del runtime
if child == 0:
    raise SystemExit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_exit_while_workers_sleep() -> None:
    code = "import time\nfrom heron import _core\nr = _core.Runtime(3)\nr.parallel(9, lambda c: None)\ntime.sleep(0.01)\n"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)
