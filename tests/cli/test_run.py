"""`heron run`, as its users meet it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heron import pocket
from heron.backends import native

BACKENDS = [
    "--backend reference",
    pytest.param("--backend native", marks=pytest.mark.skipif(not native.available(), reason="the core is not compiled")),
    "--backend torch --device cpu",
    "-ngl 2 --device cpu",
]
ONCE = "Once upon a time"


def command(*args: str | Path, stdin: str | bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    line = [sys.executable, "-m", "heron", "run", *map(str, args)]
    return subprocess.run(line, input=data, capture_output=True, timeout=120, env=os.environ | env)


@pytest.fixture
def stories(shared: Path) -> Path:
    return shared / "data/stories/stories260K-f32.gguf"


def expected(shared: Path) -> str:
    return str(json.loads((shared / "data/stories/expected.json").read_text())[ONCE]["text"])


@pytest.mark.parametrize("where", BACKENDS)
def test_greedy_text_is_llama_cpps(shared: Path, stories: Path, where: str) -> None:
    done = command(stories, "--raw", "-t", "0", "-n", "100", "-p", ONCE, *where.split())
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, expected(shared) + "\n", b"")


def test_prompts_from_a_pipe_a_file_and_both(stories: Path, tmp_path: Path) -> None:
    options = [stories, "--raw", "-t", "0", "-n", "20"]
    said = command(*options, "-p", "Once upon\na time").stdout
    (tmp_path / "begin.txt").write_text("Once upon\n")
    assert command(*options, stdin="Once upon\na time\n").stdout == said
    assert command(*options, "-p", "Once upon", stdin="a time\n").stdout == said
    assert command(*options, "-f", tmp_path / "begin.txt", stdin="a time").stdout == said
    assert command(*options, "-p", "Once upon").stdout != said


def test_a_pipe_that_stays_silent_is_not_waited_for(stories: Path) -> None:
    read, write = os.pipe()
    line = [sys.executable, "-m", "heron", "run", str(stories), "--raw", "-t", "0", "-n", "3", "-p", ONCE]
    done = subprocess.run(line, stdin=read, capture_output=True, timeout=60)
    os.close(read), os.close(write)
    assert done.returncode == 0 and done.stdout == b", there was\n"
    assert b"nothing is piped in" in done.stderr


def test_what_is_not_text_is_refused(stories: Path) -> None:
    done = command(stories, stdin=b"ab\xff")
    assert done.returncode == 2 and b"not UTF-8 text, at byte 2" in done.stderr


def test_a_seed_gives_the_same_text_again_and_stats_print_the_one_drawn(stories: Path) -> None:
    first = command(stories, "--raw", "-p", ONCE, "-n", "40", "-t", "1.5", "--stats", "--backend", "reference")
    rows = dict(line.strip().split(": ", 1) for line in first.stderr.decode().splitlines())
    assert list(rows) == ["load", "prompt", "decode", "first token", "memory", "context", "backend", "seed"]
    assert rows["prompt"].startswith("5 tokens in ") and rows["context"] == "512 tokens"
    again = command(stories, "--raw", "-p", ONCE, "-n", "40", "-t", "1.5", "--backend", "reference", "--seed", rows["seed"])
    assert again.stdout == first.stdout


def test_it_ends_before_the_first_stop_text(shared: Path, stories: Path) -> None:
    done = command(stories, "--raw", "-t", "0", "-p", ONCE, "--stop", "nowhere", "--stop", " red ball")
    assert done.stdout.decode() == expected(shared).split(" red ball")[0] + "\n"


def test_a_full_context(stories: Path) -> None:
    prompt = command(stories, "--raw", "-c", "16", stdin="one day " * 20)
    assert prompt.returncode == 2 and not prompt.stdout and prompt.stderr.count(b"\n") == 1 and b"the context holds 16" in prompt.stderr
    asked = command(stories, "--raw", "-c", "16", "-n", "100", "-p", ONCE)
    assert asked.returncode == 2 and b"heron: error: the context of 16 tokens is full after 11 tokens" in asked.stderr
    unlimited = command(stories, "--raw", "-c", "16", "-p", ONCE)
    assert unlimited.returncode == 0 and b"heron: the context of 16 tokens is full" in unlimited.stderr


def test_a_model_without_a_template_continues_text(shared: Path) -> None:
    options = [shared / "data/tinystories-656K", "-t", "0", "-n", "10", "-p", ONCE, "--backend", "reference"]
    done, raw = command(*options), command(*options, "--raw")
    assert done.returncode == 0 and done.stdout == raw.stdout and raw.stderr == b""
    assert b"no chat template" in done.stderr and done.stderr.count(b"\n") == 1


def test_lines_of_a_pipe_are_turns(stories: Path) -> None:
    done = command(stories, "--raw", "-i", "-t", "0", "-n", "3", stdin=f"{ONCE}\n\n{ONCE}\n/bye\n{ONCE}\n")
    assert (done.returncode, done.stdout) == (0, b", there was\n, there was\n")


def test_an_error_does_not_end_a_conversation(stories: Path) -> None:
    done = command(stories, "--raw", "-i", "-t", "0", "-n", "3", "-c", "16", stdin="one day " * 20 + f"\n{ONCE}\n")
    assert (done.returncode, done.stdout) == (0, b", there was\n") and b"the context holds 16" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_answer_and_prints_stats(stories: Path) -> None:
    long = ["-c", "4000", "-n", "-1", "--stats", "--backend", "reference"]
    line = [sys.executable, "-m", "heron", "run", str(stories), "--raw", "-p", ONCE, *long]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Shells start what they put into the background with the signal ignored, and these tests may be.
    with subprocess.Popen(line, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(10)  # it streams
        process.send_signal(signal.SIGINT)
        rest, notes = process.stdout.read(), process.stderr.read().decode()
    assert process.returncode == 130 and rest.endswith(b"\n")
    assert "tokens/s" in notes and "Traceback" not in notes and "is full" not in notes


def test_a_terminal_that_lacks_characters(stories: Path) -> None:
    wild = ["-t", "5", "--top-k", "0", "--min-p", "0", "--top-p", "1"]
    done = command(stories, "--raw", "-n", "300", *wild, "-p", ONCE, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"?" in done.stdout


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
def test_the_pocket_model_answers() -> None:
    done = command("-p", "What can you do?", "-t", "0", "-n", "60")
    assert done.returncode == 0 and done.stdout.strip()


def test_an_answer_may_be_held_to_a_language(stories: Path, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    schema = '{"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false}'
    (tmp_path / "schema.json").write_text(schema)
    (tmp_path / "list.gbnf").write_text('root ::= "- " [a-z]{2,4} "\\n"')
    for given in (schema, str(tmp_path / "schema.json")):
        done = command(stories, "--raw", "-n", "90", "-p", ONCE, "--json-schema", given)
        assert json.loads(done.stdout) in ({"a": 1}, {"a": 2})
    done = command(stories, "--raw", "-p", ONCE, "--grammar", str(tmp_path / "list.gbnf"))
    assert re.fullmatch(rb"- [a-z]{2,4}\n+", done.stdout)
    assert re.fullmatch(rb"(yes|no)\n", command(stories, "--raw", "-p", ONCE, "--regex", "yes|no").stdout)
    assert b"alone" in command(stories, "--raw", "-p", ONCE, "--regex", "a", "--json-schema", schema).stderr
