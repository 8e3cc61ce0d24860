"""Heron beside llama.cpp and beside the machine's limits, on the same GGUF files, in alternating runs.

    python benchmarks/cpu.py MODEL.gguf [MODEL.gguf ...] [--peer-python PYTHON] [--only prefill,decode] [--threads 2] [--rounds 5]

``--peer-python`` is the interpreter of an environment with llama-cpp-python (default: this one); ``--alone`` measures Heron
without a peer. Each round measures the machine (what all threads read from memory, and their multiply-adds), then Heron, then
llama.cpp. Ratios are Heron's figure by llama.cpp's of the same round; figures are medians, with the least and the most.

    prefill     a prompt of 512 tokens                        decode   32 tokens after it
    batched     decode of 8 and 32 sequences                  busy     decode beside one other process that computes
    attention   a prompt of 4k tokens, decode after 8k        memory   peak of the whole process at 4k tokens (PSS)
    start       from process start to the first token of a prompt of 16

"Of the limit": a step takes at least the time to read its weights, keys and values from memory, and to do its multiply-adds;
where the CPU has AMX, prefill stands beside the multiply-adds of vectors (which it may exceed), then beside those of tiles;
for ``memory`` it is the peak by weights and cache together, for ``busy`` the speed by that of the same round without a
neighbour. "Others" is the largest part of the machine's CPU time that other processes took in any of the row's rounds: where
it is not near 0, the row was disturbed and is to be measured again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from turns import Row, Worker, busy_neighbour, forget, markdown, shown

from heron import _core
from heron.checkpoint.checkpoint import Checkpoint
from heron.engine.bench import machine

ISA = os.environ.get("HERON_ISA") or _core.instruction_sets()[-1]
PEAKS = {"F32": "f32", "F16": "bf16", "BF16": "bf16"}  # other formats: int8


@dataclass(frozen=True)
class Work:
    """What a step of a dense model must do."""

    layers: int  #: elements of the matrices in the layers
    head: int
    nbytes: int  #: of all of them
    peak: str  #: the multiply-adds that their format allows

    @classmethod
    def of(cls, path: str) -> Work:
        with Checkpoint(path) as checkpoint:
            layers = [t for name, t in checkpoint.tensors.items() if name.startswith("blk.") and len(t.shape) == 2]
            head = checkpoint.tensors.get("output.weight") or checkpoint.tensors["token_embd.weight"]
            most = max(layers, key=lambda tensor: tensor.size).format.name
            return cls(sum(t.size for t in layers), head.size, sum(t.nbytes for t in [*layers, head]), PEAKS.get(most, "int8"))

    def seconds(self, limits: dict[str, float], tokens: int, rows: int, cached: float) -> float:
        """The least that a step of so many tokens and rows of logits can take, that reads ``cached`` bytes of keys and values."""
        compute = (tokens * self.layers + rows * self.head) / limits[self.peak]
        return max(compute, (self.nbytes + cached) / limits["read"])


class Bench:
    """One model's measurements. ``limits`` gathers the machine's, over all rounds."""

    def __init__(self, path: str, options: argparse.Namespace, limits: dict[str, list[float]]) -> None:
        self.path, self.options, self.work = path, options, Work.of(path)
        self._limits = limits
        self.pythons = {"heron": sys.executable} | ({} if options.alone else {"llama.cpp": options.peer_python})

    def worker(self, engine: str, watch: bool = False, **options: Any) -> Worker:
        return Worker(self.pythons[engine], engine, self.path, watch, threads=self.options.threads, **options)

    def workers(self, stack: ExitStack, **options: Any) -> dict[str, Worker]:
        return {engine: stack.enter_context(self.worker(engine, **options)) for engine in self.pythons}

    def rounds(self) -> Iterator[dict[str, float]]:
        """The machine's limits, before each round."""
        for _ in range(self.options.rounds):
            limits = _core.machine_limits(ISA, self.options.threads)
            for name, value in limits.items():
                self._limits.setdefault(name, []).append(value / 1e9)
            yield limits

    def compare(self, row: Row, prompt: int, limits: dict[str, float]) -> None:
        """The prefill's last round with what vectors can do, and with what tiles can."""
        row.limit.append(row.ours[-1] / prompt * self.work.seconds(limits, prompt, 1, 0))
        if (peak := limits.get(f"{self.work.peak} tiles")) is not None:
            row.tiles.append(row.ours[-1] / prompt * self.work.seconds(limits | {self.work.peak: peak}, prompt, 1, 0))

    def single(self) -> list[Row]:
        """Prefill, and decode after it."""
        prompt, count = self.options.prompt, self.options.generate
        prefill, decode = Row(f"prefill {prompt}, tok/s"), Row("decode, tok/s")
        with ExitStack() as stack:
            workers = self.workers(stack, context=prompt + count)
            for worker in workers.values():
                worker.time(prompt, 4)  # warm
            cached = workers["heron"].first["kv_bytes"] * (prompt + count / 2)
            for limits in self.rounds():
                for worker in workers.values():
                    taken = worker.time(prompt, count)
                    prefill.note(worker, prompt / taken["prefill"])
                    decode.note(worker, count / taken["decode"])
                self.compare(prefill, prompt, limits)
                decode.limit.append(decode.ours[-1] * self.work.seconds(limits, 1, 1, cached))
        only = self.options.only
        return [row for row, name in ((prefill, "prefill"), (decode, "decode")) if name in only]

    def batched(self, prompt: int = 64) -> list[Row]:
        count, rows = self.options.generate // 2, []
        sizes = self.options.sequences
        with ExitStack() as stack:
            workers = self.workers(stack, context=prompt + count, sequences=max(sizes))
            for size in sizes:
                row = Row(f"decode, {size} sequences, tok/s")
                for limits in self.rounds():
                    for worker in workers.values():
                        row.note(worker, size * count / worker.time(prompt, count, size)["decode"])
                    cached = size * workers["heron"].first["kv_bytes"] * (prompt + count / 2)
                    row.limit.append(row.ours[-1] / size * self.work.seconds(limits, size, size, cached))
                rows.append(row)
        return rows

    def attention(self, prompt: int = 4096, context: int = 8192) -> list[Row]:
        count = self.options.generate // 2
        prefill, decode = Row(f"prefill {prompt}, tok/s"), Row(f"decode after {context}, tok/s")
        with ExitStack() as stack:
            workers = self.workers(stack, context=context + count * self.options.rounds)
            for limits in self.rounds():
                for worker in workers.values():
                    prefill.note(worker, prompt / worker.time(prompt, 0)["prefill"])
                self.compare(prefill, prompt, limits)
            for worker in workers.values():
                worker.time(context - prompt, 0, keep=True)
            cached = workers["heron"].first["kv_bytes"] * context
            for limits in self.rounds():
                for worker in workers.values():
                    decode.note(worker, count / worker.time(0, count, keep=True)["decode"])
                decode.limit.append(decode.ours[-1] * self.work.seconds(limits, 1, 1, cached))
        return [prefill, decode]

    def start(self, prompt: int = 16) -> list[Row]:
        """Fresh processes: all of it, without importing Python's packages, and with a file that is not in the page cache."""
        warm, own, cold = Row("first token, s", 2), Row("first token without imports, s", 2), Row("first token of a cold file, s", 2)
        for engine in self.pythons:
            self.worker(engine, first=prompt).__exit__(None, None, None)  # into the page cache
        for _ in self.rounds():
            for engine in self.pythons:
                with self.worker(engine, first=prompt) as worker:
                    warm.note(worker, worker.seconds)
                    own.note(worker, worker.seconds - worker.first["imports"])
            for engine in self.pythons:
                forget(self.path)
                with self.worker(engine, first=prompt) as worker:
                    cold.note(worker, worker.seconds)
        return [warm, own, cold]

    def memory(self, prompt: int = 4096) -> list[Row]:
        """One engine at a time: pages that two processes map would count as half."""
        row = Row(f"peak at {prompt} tokens, MiB", 0)
        for engine in self.pythons:
            with self.worker(engine, watch=True, context=prompt + 16) as worker:
                worker.time(prompt, 8)
                row.note(worker, worker.peak.bytes / 2**20)
                if engine == "heron":
                    row.limit.append(worker.peak.bytes / (self.work.nbytes + worker.first["kv_bytes"] * prompt))
        return [row]

    def busy(self, prompt: int = 64) -> list[Row]:
        count, row = self.options.generate // 2, Row("decode beside a busy process, tok/s")
        with ExitStack() as stack:
            workers = self.workers(stack, context=prompt + count)
            for _ in self.rounds():
                quiet = count / workers["heron"].time(prompt, count)["decode"]
                with busy_neighbour():
                    for worker in workers.values():
                        row.note(worker, count / worker.time(prompt, count)["decode"])
                row.limit.append(row.ours[-1] / quiet)
        return [row]


SECTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "prefill": Bench.single,
    "decode": Bench.single,
    "batched": Bench.batched,
    "attention": Bench.attention,
    "start": Bench.start,
    "memory": Bench.memory,
    "busy": Bench.busy,
}


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS), metavar=",".join(SECTIONS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--sequences", type=numbers, default=[8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"there is no {', '.join(unknown)} to measure")
    limits: dict[str, list[float]] = {}
    console = Console(stderr=True)
    print(f"{machine()['cpu']}, {ISA}, {options.threads} threads; load average before: {os.getloadavg()[0]:.1f}\n")
    print(markdown("model", "", "Heron", "llama.cpp", "ratio", "of the limit", "others"), markdown(*["---"] * 7), sep="\n", flush=True)
    for path in options.models:
        bench = Bench(path, options, limits)
        for section in dict.fromkeys(SECTIONS[name] for name in SECTIONS if name in options.only):
            with console.status(f"{Path(path).name}: {section.__name__}"):
                rows = section(bench)
            for row in rows:
                print(markdown(Path(path).stem, row.label, *row.cells()), flush=True)
    if limits:
        peaks = [f"{name} {shown(values, 0)}" for name, values in limits.items() if name != "read"]
        print(f"\nThe machine reads {shown(limits['read'], 0)} GB/s; G multiply-adds/s: {', '.join(peaks)}.")
    print(f"Load average after: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
