"""`heron chat` without a terminal, and its options."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

from heron.cli import chat, run
from heron.cli.options import loading, sampling

ROOT = Path(__file__).resolve().parents[2]


def talk(*words: str | Path, stdin: str, says: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-m", "heron"] if says is None else [str(Path(__file__).with_name("scripted.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({} if says is None else {"HERON_SAYS": str(says)})}
    line = [sys.executable, *program, "chat", "-t", "0", *map(str, words)]
    return subprocess.run(line, input=stdin, capture_output=True, text=True, env=environment, timeout=120)


def test_lines_are_questions_and_answers_all_that_is_printed(tmp_path: Path) -> None:
    says = tmp_path / "says"
    says.write_text("<think>\nHm.\n</think>\n\nFour.\fFive.")
    done = talk("--stats", stdin="two and two?\n\nand one?\n/bye\nnever\n", says=says)
    assert (done.returncode, done.stdout) == (0, "Four.\nFive.\n")
    first, second = done.stderr.splitlines()
    assert "tokens/s" in first and "from the cache" in second  # the first turn is not read again


def test_bytes_of_another_encoding_end_nothing() -> None:
    line = [sys.executable, "-m", "heron", "chat", "-t", "0", "-n", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(line, input=b"caf\xe9?\nAnd?\n", capture_output=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 2)


def test_a_saved_conversation_goes_on(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "Yes."}]
    saved = tmp_path / "talk.json"
    saved.write_text(json.dumps({"format": "heron conversation", "version": 1, "messages": messages}))
    alone, after = (talk(*options, "--stats", "-n", "1", stdin="And?\n").stderr for options in ([], ["--load", saved]))
    read = [int(text.partition(" read")[0].rpartition(" ")[2]) for text in (alone, after)]
    assert read[1] > read[0] + 400
    saved.write_text("{}")
    refused = talk("--load", saved, stdin="And?\n")
    assert refused.returncode == 2 and "no conversation" in refused.stderr and not refused.stdout


def test_both_commands_have_the_same_options_of_sampling_and_loading() -> None:
    shared = {name for group in (sampling, loading) for name in inspect.signature(group).parameters}
    for command in (chat.chat, run.run):
        assert shared < set(inspect.signature(command).parameters)
