"""The command as a program: what it prints where, and how it ends."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import heron
from heron.cli import main


def command(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "heron", *args], input=stdin, capture_output=True, text=True, timeout=60)


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"heron {heron.__version__}\n", "")


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(args: list[str]) -> None:
    done = command(*args)
    assert done.returncode == 0 and not done.stderr
    assert "\n  run " in done.stdout and "\n  embed " in done.stdout and "\n  info " in done.stdout


def test_help_imports_no_numbers() -> None:
    code = "import sys; sys.argv = ['heron', '--help']\nfrom heron.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'rich', 'jinja2', 'gguf', 'heron.engine') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_of_run_names_every_option() -> None:
    text = command("run", "--help").stdout
    options = "prompt file max-tokens ctx-size temperature temp top-k top-p min-p typical-p repeat-penalty repeat-last-n frequency-penalty"
    options += " presence-penalty mirostat mirostat-tau mirostat-eta seed stop threads backend kv-dtype system raw interactive stats"
    assert not [name for name in options.split() if f"--{name}" not in text]
    assert not [name for name in "pfnctih" if f"-{name}" not in text.replace("--", "")]
    assert 'heron run -p "' in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runn"], ["runn", "Did you mean 'run'", "heron --help"]),
        (["run", "--bogus"], ["--bogus", "heron run --help"]),
        (["run", "-t", "warm"], ["--temperature"]),
        (["run", "-p"], ["-p"]),
        (["run", "-p", "hi", "-t", "-1"], ["temperature", "-1"]),
        (["run", "-p", "hi", "--mirostat", "3"], ["mirostat", "3"]),
        (["run", "/no/such.gguf", "-p", "hi"], ["/no/such.gguf"]),
        (["run", "-f", "/no/such.txt"], ["/no/such.txt"]),
        (["run", "."], ["no prompt"]),
        (["info", "/no/such.gguf"], ["/no/such.gguf"]),
        (["info"], ["heron info --help"]),
    ],
)
def test_an_error_is_one_line(
    args: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["heron", *args])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2 and not printed.out
    assert printed.err.startswith("heron: error: ") and printed.err.count("\n") == 1
    assert not [word for word in words if word not in printed.err]


def test_an_error_of_the_program_is_one_line() -> None:
    done = command("run", "/no/such.gguf", "-p", "hi")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("heron: error: ") and done.stderr.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    done = command("--debug", "run", "/no/such.gguf", "-p", "hi")
    assert done.returncode != 0 and "Traceback" in done.stderr and "CheckpointError" in done.stderr


APART = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def test_the_first_process_of_a_container_can_be_ended() -> None:
    """The kernel keeps signals from it that it does not handle, so that `docker stop` would wait in vain while a model is pulled."""
    if not shutil.which("unshare") or subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces can be made here")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HUB_OFFLINE": ""}
        line = [*APART, sys.executable, "-m", "heron", "pull", "org/name"]
        around = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
        held, _ = silent.accept()
        (pulling,) = Path(f"/proc/{around.pid}/task/{around.pid}/children").read_text().split()
        os.kill(int(pulling), signal.SIGTERM)
        try:
            with held:
                assert around.wait(20) == 128 + signal.SIGTERM
        finally:
            around.kill()
