"""`heron pull`, `list` and `delete`, and the commands that pull what they run."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from fake_hub import FakeHub

import heron
from heron import pocket
from heron.cli import main

POCKET = pocket.path().read_bytes()


class Command:
    """The command in this process: what it prints where, and its exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *args: str, code: int = 0) -> tuple[str, str]:
        self._monkeypatch.setattr(sys, "argv", ["heron", *args])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, printed.err
        return printed.out, printed.err


@pytest.fixture
def command(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    hub.repositories["org/pocket-GGUF"] = {"pocket-Q8_0.gguf": POCKET, "pocket-Q4_0.gguf": b"no model" * 1000}
    return Command(monkeypatch, capsys)


def test_pull_list_run_delete(command: Command, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = command("pull", "org/pocket-GGUF:q8_0")
    path = Path(out.strip())
    assert path.read_bytes() == POCKET and f"pulling pocket-Q8_0.gguf, {len(POCKET) / 2**20:.1f} MiB" in err
    long_ago = time.time() - 3 * 86400
    os.utime(path, (long_ago, long_ago))
    out, _ = command("list")
    assert out.splitlines()[0].split() == ["name", "format", "size", "architecture", "context", "last", "used"]
    assert "org/pocket-GGUF:Q8_0" in out and "llama" in out and "3 days ago" in out
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out, _ = command("run", "org/pocket-GGUF", "-p", "Hello", "-n", "3", "--seed", "1")
    assert out.strip()
    (row,) = json.loads(command("list", "--json")[0])
    assert (row["name"], row["format"], row["bytes"], row["architecture"]) == ("org/pocket-GGUF:Q8_0", "Q8_0", len(POCKET), "llama")
    assert row["context_length"] > 100 and time.time() - row["last_used"] < 60 and row["path"] == str(path)
    _, err = command("delete", "org/pocket-GGUF:Q8_0", code=2)
    assert "--yes" in err and path.exists()
    command("delete", "org/pocket-GGUF:q8_0", "--yes")
    assert not list(cache.glob("models--*")) and "no models" in command("list")[1]
    _, err = command("delete", "org/pocket-GGUF", "--yes", code=2)
    assert "not in the cache" in err


def test_a_model_that_is_not_there_is_pulled_to_be_run(command: Command, hub: FakeHub) -> None:
    facts = json.loads(command("info", "org/pocket-GGUF:Q8_0", "--json")[0])
    assert facts["architecture"] == "llama" and len(hub.asked) == 1
    assert heron.load("org/pocket-GGUF:Q8_0").generate("Hi", max_tokens=2, seed=1).tokens and len(hub.asked) == 1


def test_what_cannot_be_run_is_one_line(command: Command, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (
        ("org/none", "no model org/none"),
        ("none", "heron list --aliases"),
        ("org/pocket-GGUF:Q2_K", "there is Q4_0, Q8_0"),
    ):
        out, err = command("run", name, "-p", "hi", code=2)
        assert not out and err.count("\n") == 1 and err.startswith("heron: error: ") and words in err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    assert "there is no file or folder 'org/none', and there is no model org/none" in command("run", "org/none", "-p", "hi", code=2)[1]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not in the cache" in command("info", "org/pocket-GGUF", code=2)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_shows_how_far_all_of_it_is(hub: FakeHub, columns: int) -> None:
    """In one line, however many files there are and however narrow it is."""
    import pty

    hub.repositories["org/many"] = {f"Q8_0/a-model-with-a-name-Q8_0-{n:05}-of-00030.gguf": bytes([n]) * 5000 for n in range(1, 31)}
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "10", "TERM": "xterm"}
    line = [sys.executable, "-m", "heron", "pull", "org/many"]
    with subprocess.Popen(line, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment) as pulling:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while piece := os.read(ours, 4096):
                shown += piece
        assert pulling.wait(60) == 0
    os.close(ours)
    frames = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\r", shown.decode()).split("\r")
    bars = [frame.strip() for frame in frames if "KiB" in frame]
    assert bars[-1].startswith("146.5/146.5 KiB") and all("\n" not in bar for bar in bars)
    assert [frame for frame in frames if frame.startswith("30/30 a-mode")] and max(map(len, frames)) < columns


def test_deleting_one_quantization_keeps_the_other(command: Command, cache: Path) -> None:
    kept, gone = (Path(command("pull", f"org/pocket-GGUF:{kind}")[0].strip()) for kind in ("Q4_0", "Q8_0"))
    assert [row["architecture"] for row in json.loads(command("list", "--json")[0])] == [None, "llama"]
    _, err = command("delete", "org/pocket-GGUF:Q8_0", "-y")
    assert "deleted org/pocket-GGUF:Q8_0" in err and kept.read_bytes() and not gone.exists()
    assert len(list(cache.glob("models--*/blobs/*"))) == 1
    command("delete", "org/pocket-GGUF", "-y")
    assert not list(cache.glob("models--*"))


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
@pytest.mark.parametrize(("typed", "status"), [("n\n", 0), ("\n", 0), ("y\n", 0), ("\x03", 130), ("\x04", 130)])
def test_a_user_who_is_asked(command: Command, cache: Path, typed: str, status: int) -> None:
    import pty

    command("pull", "org/pocket-GGUF:Q8_0")
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "heron", "delete", "org/pocket-GGUF"]
    with subprocess.Popen(
        line, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True, preexec_fn=_controlled
    ) as asking:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while piece := os.read(ours, 4096):
                shown += piece
                if b"[y/N]:" in shown and typed:
                    os.write(ours, typed.encode())
                    typed, answer = "", typed
        assert asking.wait(60) == status, shown
    os.close(ours)
    assert bool(list(cache.glob("models--*"))) is (answer != "y\n")
    assert (b"nothing was deleted" in shown) is (answer in ("n\n", "\n"))


def _controlled() -> None:
    """Have the terminal on stdin send signals, also where the shell that runs these tests ignores them."""
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_what_a_cut_pull_left_is_listed_and_deleted(command: Command, hub: FakeHub, cache: Path) -> None:
    blob = cache / "models--org--pocket-GGUF" / "blobs" / ("a" * 64 + ".incomplete")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 1000)
    (row,) = json.loads(command("list", "--json")[0])
    assert (row["format"], row["bytes"], row["path"]) == ("cut pull", 1000, None)
    _, err = command("delete", "org/pocket-GGUF", "-y")
    assert "cut pull" in err and not list(cache.glob("models--*"))


def test_aliases(command: Command, hub: FakeHub) -> None:
    hub.repositories["unsloth/Qwen3-0.6B-GGUF"] = {"Qwen3-0.6B-Q4_K_M.gguf": b"4" * 3000, "Qwen3-0.6B-Q8_0.gguf": b"8" * 3000}
    assert command("pull", "qwen3:0.6b")[0].strip().endswith("Q4_K_M.gguf")
    assert command("pull", "qwen3:0.6b:q8_0")[0].strip().endswith("Q8_0.gguf")
    assert "qwen3:0.6b" in command("list", "--aliases")[0]
    assert json.loads(command("list", "--aliases", "--json")[0])["qwen3:0.6b"] == "unsloth/Qwen3-0.6B-GGUF"
    command("delete", "qwen3:0.6b", "--yes")
    assert not json.loads(command("list", "--json")[0])
    assert "'qwen4' is no model's name; did you mean qwen3?" in command("pull", "qwen4", code=2)[1]
    assert "no model at 'qwen4:0.6b'; did you mean qwen3?" in command("run", "qwen4:0.6b", "-p", "hi", code=2)[1]
    assert "did you mean" not in command("run", "x.gguf", "-p", "hi", code=2)[1]
    assert "has no size '9b'" in command("pull", "qwen3:9b", code=2)[1]


def test_a_cache_by_setting_and_by_flag(command: Command, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("set", "named"):
        (tmp_path / f"{name}.toml").write_text(f'[model]\ncache_dir = "{tmp_path / name}"')
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "of-hugging-face"))
    monkeypatch.setenv("HERON_MODEL_CACHE_DIR", str(tmp_path / "set"))
    command("info", "org/pocket-GGUF:Q8_0")
    assert list((tmp_path / "set").glob("models--*")) and "org/pocket" in command("list")[0]
    monkeypatch.delenv("HERON_MODEL_CACHE_DIR")
    assert "no models" in command("list", "--config", str(tmp_path / "named.toml"))[1]
    assert "no models" in command("--config", str(tmp_path / "set.toml"), "list", "--cache-dir", str(tmp_path / "flag"))[1]
    assert "org/pocket" in command("--config", str(tmp_path / "set.toml"), "list")[0]
    command("pull", "org/pocket-GGUF:Q4_0", "--cache-dir", str(tmp_path / "flag"))
    assert list((tmp_path / "flag").glob("models--*")) and not (tmp_path / "of-hugging-face").exists()


def test_a_safetensors_folder_runs(command: Command, hub: FakeHub, shared: Path) -> None:
    folder = shared / "data" / "tinystories-656K"
    hub.repositories["org/stories"] = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} | {
        "weights.bin": b"x" * 3000
    }
    out, _ = command("run", "org/stories", "-p", "Once upon a time", "--raw", "-n", "5", "-t", "0")
    assert out.strip() and "weights.bin" not in [name for name, _ in hub.asked]
    (row,) = json.loads(command("list", "--json")[0])
    assert (row["name"], row["format"]) == ("org/stories", "safetensors") and row["architecture"]
    from heron.hub.cache import called

    assert called(Path(row["path"])) == "stories"
