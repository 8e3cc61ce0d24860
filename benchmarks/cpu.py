"""Heron beside llama.cpp and beside the machine's limits, on the same GGUF files, in alternating runs.

    python benchmarks/cpu.py MODEL.gguf [MODEL.gguf ...] [--peer-python PYTHON] [--threads 2] [--prompt 512] [--generate 32] [--rounds 5]

``--peer-python`` is the interpreter of an environment with llama-cpp-python (default: this one). Each round measures the
machine (what all threads read from memory, and their int8 multiply-adds), then Heron, then llama.cpp. A ratio is taken
within its round; figures are medians, with the least and the most.

Limits: decode reads every weight that is multiplied by once a token; prefill does a multiply-add a weight and token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from heron import _core
from heron.checkpoint.checkpoint import Checkpoint

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """An engine in a process of its own (worker.py)."""

    def __init__(self, python: str, engine: str, model: str, threads: int) -> None:
        command = [python, str(WORKER), engine, model, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.load = self._answer()["ready"]

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(map(str, self.process.args))} ended:\n{self.process.stderr.read()[-2000:]}")  # type: ignore[arg-type]
        answer: dict[str, float] = json.loads(line)
        return answer

    def time(self, prompt: int, generate: int) -> dict[str, float]:
        assert self.process.stdin is not None
        print(json.dumps({"prompt": prompt, "generate": generate}), file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def multiplied(path: str) -> tuple[int, int]:
    """Elements of the matrices that a token is multiplied by in the layers, and bytes of those and of the output head."""
    with Checkpoint(path) as checkpoint:
        layers = [t for name, t in checkpoint.tensors.items() if name.startswith("blk.") and len(t.shape) == 2]
        head = checkpoint.tensors.get("output.weight") or checkpoint.tensors["token_embd.weight"]
        return sum(t.size for t in layers), sum(t.nbytes for t in [*layers, head])


def measure(path: str, options: argparse.Namespace, tick: Any) -> dict[str, list[float]]:
    """Figures by name, one a round."""
    isa = options.isa
    elements, nbytes = multiplied(path)
    engines = {"heron": Worker(sys.executable, "heron", path, options.threads)}
    engines["llama.cpp"] = Worker(options.peer_python, "llama.cpp", path, options.threads)
    for worker in engines.values():
        worker.time(options.prompt, 4)  # warm
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for _ in range(options.rounds):
        limits = _core.machine_limits(isa, options.threads)
        note("read GB/s", limits["read"] / 1e9)
        note("int8 G/s", limits["int8"] / 1e9)
        for name, worker in engines.items():
            taken = worker.time(options.prompt, options.generate)
            note(f"{name} prefill", options.prompt / taken["prefill"])
            note(f"{name} decode", options.generate / taken["decode"])
            tick()
        note("prefill ratio", figures["heron prefill"][-1] / figures["llama.cpp prefill"][-1])
        note("decode ratio", figures["heron decode"][-1] / figures["llama.cpp decode"][-1])
        note("prefill of int8 peak", figures["heron prefill"][-1] * elements / limits["int8"])
        note("decode of memory", figures["heron decode"][-1] * nbytes / limits["read"])
    for worker in engines.values():
        worker.close()
    return figures


def shown(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


ROWS = (
    ("prefill tok/s", ("heron prefill", "llama.cpp prefill", "prefill ratio", "prefill of int8 peak")),
    ("decode tok/s", ("heron decode", "llama.cpp decode", "decode ratio", "decode of memory")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", default=_core.instruction_sets()[-1])
    options = parser.parse_args()
    table = Table("model", "", "Heron", "llama.cpp", "ratio", "of the limit", title=f"{options.threads} threads, {options.isa}")
    with Progress(console=Console(stderr=True)) as progress:
        for path in options.models:
            task = progress.add_task(Path(path).name, total=2 * options.rounds)
            figures = measure(path, options, lambda task=task: progress.advance(task))
            for label, (ours, theirs, ratio, limit) in ROWS:
                cells = (shown(figures[ours], 1), shown(figures[theirs], 1), shown(figures[ratio], 2), shown(figures[limit], 2))
                table.add_row(Path(path).name, label, *cells)
            table.add_row(Path(path).name, "limits", f"{shown(figures['read GB/s'], 1)} GB/s", f"{shown(figures['int8 G/s'], 0)} G int8/s")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
