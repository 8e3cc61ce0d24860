"""`heron doctor`: what it tells of this machine, what it says of machines that are worse, and what it never shows."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import heron
from heron import pocket
from heron.backends import torch as on_torch
from heron.cli import doctor, main
from heron.cli.checks import check as checks
from heron.cli.checks import hardware, software, use
from heron.cli.checks.check import Check, Died, apart, checked
from heron.cli.checks.hiding import Hiding, secrets
from heron.compiled import core
from heron.config import DEFAULTS, Config, Value
from heron.engine.control_group import Allowed
from heron.engine.processor import Processor

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["heron", "python", "system", "cpu", "kernels", "memory", "gpu", "libraries"]
NAMES += ["models", "settings", "variables", "port", "speed", "self-test"]


def report(*args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "heron", "doctor", *args]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, cwd=cwd, env=environment)


def found(probe: Callable[..., None], *args: Any) -> Check:
    check = Check("name")
    probe(check, *args)
    return check


def test_the_whole_report_fits_on_a_screen_and_the_kernels_are_right() -> None:
    done = report()
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= 45
    rows = {line.split()[1]: line.split()[0] for line in lines if line[0] != " "}
    assert [name for name in NAMES if rows.get(name) not in ("ok", "warning")] == []
    assert f"Python {sys.version.split()[0]}" in done.stdout and heron.__version__ in done.stdout
    if core is not None:
        assert rows["self-test"] == "ok" and "tokens are the reference" in " ".join(done.stdout.split())
    assert lines[-1].startswith("no problems, ")


def test_a_narrow_terminal_has_narrow_lines() -> None:
    done = report("--quick", COLUMNS="50")
    assert done.returncode == 0 and 40 < max(map(len, done.stdout.splitlines())) <= 50


def test_the_same_for_programs_without_measuring() -> None:
    done = report("--quick", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["mark"] in ("ok", "warning") and list(told["checks"]) == NAMES[:-2]
    assert told["checks"]["kernels"]["facts"]["compiled"] is (core is not None)
    assert told["checks"]["memory"]["facts"]["available"] > 0
    assert told["checks"]["port"]["facts"]["port"] == 11435


SECRETS = {
    "HERON_SERVER_API_KEY": "first-secret, second-secret",
    "HERON_API_KEY": "older-secret",
    "HF_TOKEN": "hf_secret",
    "HUGGING_FACE_HUB_TOKEN": "hf_other_secret",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "HF_ENDPOINT": "https://me:url-secret@hub.example",
    "HTTPS_PROXY": "http://me:proxy-secret@proxy.example",
    "HERON_OWN_THING": "unknown-secret",
}


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_no_secret_and_no_home_is_ever_shown(tmp_path: Path, form: list[str]) -> None:
    home = tmp_path / "someone"
    (home / "cache" / "hf_secret").mkdir(parents=True)
    (tmp_path / "some.toml").write_text("[server]\napi_key = ['file-secret']\napi_key_file = 'keys.txt'\n")
    (tmp_path / "keys.txt").write_text("kept-secret\n")
    here = {"HOME": str(home), "HF_HOME": str(home / "cache" / "hf_secret"), **SECRETS}
    done = report("--quick", "--config", "some.toml", *form, cwd=tmp_path, **here)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    words = [word.strip(",") for value in SECRETS.values() for word in value.split()]
    words += ["file-secret", "kept-secret", "url-secret", "proxy-secret"]
    assert [word for word in words if word in shown] == [] and "someone" not in shown
    assert "HF_TOKEN is set" in shown and "HTTPS_PROXY is set" in shown and "AWS" not in shown
    assert "~/cache/***/hub" in shown and "https://***@hub.example" in shown and "server.api_key" in shown


def test_secrets_are_whole_lists_and_their_parts() -> None:
    told = secrets({"A_TOKEN": "abcdefg, hijklmn", "KEYS": "short", "HERON_SERVER_API_KEY_FILE": "/keys/file", "PLAIN": "plain-value"})
    assert {"abcdefg, hijklmn", "abcdefg", "hijklmn"} < set(told) and "/keys/file" not in told and "plain-value" not in told
    hide = Hiding([*told], home="/home/me").text
    assert hide("abcdefg /home/me /home/me/x /home/mea /mnt/home/me short") == "*** ~ ~/x /home/mea /mnt/home/me short"
    assert json.dumps(Hiding([]).all({"a": (float("nan"), float("inf"), 1.5)}), allow_nan=False) == '{"a": [null, null, 1.5]}'


def test_a_wrong_setting_is_a_problem_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[server]\nprot = 1\n")
    done = report("--quick", "--config", "wrong.toml", cwd=tmp_path)
    assert done.returncode == 1 and "1 problem, " in done.stdout
    assert "did you mean port?" in " ".join(done.stdout.split()) and [name for name in NAMES[:-2] if name not in done.stdout] == []


def test_kernels_that_do_not_run_here_end_nothing_else() -> None:
    done = report("--json", HERON_ISA="avx9")
    told = json.loads(done.stdout)["checks"]
    assert list(told) == NAMES
    if core is not None:
        assert done.returncode == 1
        assert [told[name]["mark"] for name in ("kernels", "speed", "self-test")] == ["problem"] * 3
        assert "avx9" in told["kernels"]["problems"][0] and "avx9" in told["self-test"]["problems"][0]


def test_kernels_that_are_forced_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "core", SimpleNamespace(instruction_sets=lambda: ["portable", "x"], Runtime=core_of_one, __file__="f"))
    monkeypatch.setattr(hardware, "_lacking", lambda *args: [])
    monkeypatch.setenv("HERON_ISA", "portable")
    check = found(hardware.kernels)
    assert check.mark == "warning" and "x is here" in check.warnings[0]
    monkeypatch.delenv("HERON_ISA")
    check = found(hardware.kernels)
    assert check.mark == "ok" and check.says == ["x, of portable x", "1 thread"]


def test_a_core_of_other_sources_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade that did not compile: Heron asks for what is not there."""
    older = SimpleNamespace(instruction_sets=lambda: ["portable"], Runtime=core_of_one, __file__="f")
    monkeypatch.setattr(hardware, "core", older)
    check = found(hardware.kernels)
    assert (
        check.mark == "problem" and "it has no ProgramError" in check.problems[0] and "pip install --force-reinstall" in check.problems[0]
    )
    assert "Weight" in check.facts["lacking"] and "Runtime.parallel" in check.facts["lacking"]


def core_of_one(threads: int) -> SimpleNamespace:
    return SimpleNamespace(threads=1)


@pytest.mark.parametrize(
    ("files", "path", "mark", "words"),
    [
        ((), "", "warning", "without a C++ compiler; get one"),
        ((), "g++", "warning", "too old for C++20"),
        (("_core.cpython-27-x86_64.so",), "", "warning", "compiled for another Python (_core.cpython-27"),
        (("_core.abi3.so",), "", "problem", "cannot be loaded: no libstdc++"),
    ],
)
def test_why_there_is_no_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], path: str, mark: str, words: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    if path:
        (tmp_path / path).touch(mode=0o755)

    def broken(name: str) -> None:
        raise ImportError("no libstdc++")

    monkeypatch.setattr(hardware, "core", None)
    monkeypatch.setattr(heron, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(hardware.importlib, "import_module", broken)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = found(hardware.kernels)
    assert check.mark == mark and words in (check.problems + check.warnings)[0] and "reference backend" in check.says[0]


def test_without_a_core_the_reference_backend_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "core", None)
    check = found(use.answers)
    assert check.mark == "ok" and check.facts["backend"] == "reference" and check.facts["tokens_per_second"] > 0


def test_kernels_that_compute_wrongly_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"text": "?", "tokens": [1], "behind": 7.0, "load_seconds": 1.0, "tokens_per_second": 1.0}
    for behind, mark in ((0.1, "ok"), (7.0, "problem"), (float("nan"), "problem")):
        monkeypatch.setattr(use, "apart", lambda *args, behind=behind: told | {"behind": behind})
        assert found(use.answers).mark == mark
    monkeypatch.setattr(pocket, "path", lambda: Path("/no/such.gguf"))
    assert found(use.answers).mark == "warning"


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        ({"allowed": lambda: Allowed(cores=0.5)}, "a core or more"),
        ({"processor": lambda: Processor("X", 4, 8, 8, "powersave", "acpi-cpufreq")}, "governor powersave"),
        ({"processor": lambda: Processor("VirtualApple @ 2.50GHz", 4, 4, 4)}, "arm64 Python"),
    ],
)
def test_processors_that_could_do_more(monkeypatch: pytest.MonkeyPatch, patches: dict[str, Any], words: str) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(hardware, "processor", lambda: Processor("X", 4, 8, 8, "powersave", "intel_pstate"))
    monkeypatch.setattr(hardware, "allowed", Allowed)
    assert found(hardware.cpu).mark == "ok"
    for name, value in patches.items():
        monkeypatch.setattr(hardware, name, value)
    check = found(hardware.cpu)
    assert check.mark == "warning" and words in check.warnings[0]


def test_a_busy_cpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "processor", lambda: Processor("X", 4, 8, 6))
    monkeypatch.setattr(os, "getloadavg", lambda: (13.0, 0.0, 0.0))
    check = found(hardware.cpu)
    assert check.mark == "warning" and "4 cores, 8 logical, 6 allowed" in check.says


def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_bytes", lambda: 1 << 30)
    monkeypatch.setattr(hardware, "allowed", lambda: Allowed(memory=2 << 30, free=1 << 30))
    check = found(hardware.memory)
    assert check.mark == "warning" and "limited to 2.0 GiB by the control group" in check.says and check.facts["limit"] == 2 << 30


def test_few_addresses_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    real = resource.getrlimit
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1 << 30, 1 << 30) if what == resource.RLIMIT_AS else real(what))
    check = found(hardware.memory)
    assert "1.0 GiB of addresses" in check.says and "ulimit -v unlimited" in " ".join(check.warnings)


def test_a_gpu_without_torch_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_torch, "_DRIVERS", ())
    assert found(software.gpu).says == ["no driver of one; the CPU computes"]
    monkeypatch.setattr(on_torch, "_DRIVERS", (str(tmp_path),))
    monkeypatch.setattr(on_torch, "available", lambda: False)
    check = found(software.gpu)
    assert check.mark == "warning" and "pip install 'heron[torch]'" in check.warnings[0]


def test_what_torch_sees_of_gpus_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(on_torch, "_DRIVERS", (str(tmp_path),))
    nvidia_smi(tmp_path, monkeypatch)
    seen: dict[str, Any] = {"built_for": "CUDA 13.0", "devices": []}
    monkeypatch.setattr(software, "apart", lambda *args: seen)
    check = found(software.gpu)
    assert check.mark == "warning" and "sees no GPU" in check.warnings[0]
    assert check.says[0] == "NVIDIA H200, 143771 MiB, driver 580.82"
    seen["devices"] = [{"device": "cuda:0", "name": "NVIDIA H200", "memory": 3 << 30, "free": 1 << 30}]
    check = found(software.gpu)
    assert check.mark == "ok" and check.says[-1] == "cuda:0: NVIDIA H200, 1.0 GiB free of 3.0 GiB"

    def broken(*args: Any) -> None:
        raise Died("ImportError: libcudart.so.13")

    monkeypatch.setattr(software, "apart", broken)
    assert "libcudart" in found(software.gpu).problems[0]


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 580.82'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_torch_tells_what_it_sees() -> None:
    pytest.importorskip("torch")
    from heron.backends.torch.device import seen as look

    seen = json.loads(json.dumps(look()))
    assert set(seen) == {"built_for", "devices"} and all({"device", "name", "memory", "free"} == set(each) for each in seen["devices"])


def test_libraries_that_are_missing_or_too_old_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        software.metadata, "requires", lambda name: ["numpy>=99", "gguf>=0.1", "torch<1; extra == 'torch'", "ruff<0; extra == 'dev'"]
    )
    real = software._version
    monkeypatch.setattr(software, "_version", lambda name: "" if name == "jinja2" else real(name))
    check = found(software.libraries)
    assert check.problems == ["jinja2 is missing; run: pip install jinja2"]
    assert [warning.split()[0] for warning in check.warnings] == (["numpy", "torch"] if real("torch") else ["numpy"])


def test_libraries_that_are_here_and_broken_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('libjinja.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    check = found(software.libraries)
    told = "jinja2 cannot be loaded: ImportError: libjinja.so.1: cannot open shared object file; run: pip install --force-reinstall jinja2"
    assert check.problems == [told]


def test_libraries_that_end_the_process_are_found_among_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").touch()
    (tmp_path / "two.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert software._broken(["one", "two"]) == {"two": f"it was ended by signal {signal.SIGILL:d}"}


def test_the_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert {"no models", "not made yet"} < set(found(use.models).says)
    snapshot = tmp_path / "hub" / "models--org--small" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "small-Q8_0.gguf").write_bytes(bytes(2048))
    monkeypatch.setattr(use.shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 30))
    check = found(use.models)
    assert check.mark == "ok" and "1 model, 2.0 KiB" in check.says
    (tmp_path / "hub" / "models--org--other" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "models--org--other" / "blobs" / "0.incomplete").touch()
    assert "1 pull was cut" in found(use.models).warnings[0]
    monkeypatch.setattr(use.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    assert "little disk" in found(use.models).warnings[0]
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "not writable" in found(use.models).warnings[0]


def test_variables_that_the_page_lists_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for those that only terminals heed."""
    rows = (ROOT / "docs/configuration.md").read_text().partition("## Other variables")[2].splitlines()
    listed = {name for row in rows if row.startswith("| `") for name in re.findall(r"`([A-Z_]{4,})", row.split("|")[1])}
    listed -= {"TERM", "NO_COLOR", "VISUAL", "EDITOR"}
    for name in listed:
        monkeypatch.setenv(name, "1")
    assert len(listed) > 12 and sorted(listed - set(found(use.variables).facts)) == []


def test_settings_are_told_and_an_open_server_warned_of() -> None:
    check = found(use.settings, Config({**DEFAULTS.entries, "server.host": Value("0.0.0.0", "x.toml:2")}, (Path("x.toml"),)))
    assert check.mark == "warning" and check.says == ["x.toml", 'server.host = "0.0.0.0"']
    assert found(use.settings, DEFAULTS).says == ["no file was read", "all defaults"]


def test_keys_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    for file, words in ((tmp_path / "none.txt", "cannot be read"), (tmp_path / "empty.txt", "holds none")):
        (tmp_path / "empty.txt").touch()
        check = found(use.settings, Config({**DEFAULTS.entries, "server.api_key_file": Value(str(file), "x.toml:2")}))
        assert check.mark == "problem" and words in check.problems[0]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        if self.server.server_name:  # type: ignore[attr-defined]
            self.send_header("x-request-id", "req-1")
        self.end_headers()
        self.wfile.write(b'{"status":"ok"}')

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize("name", ["heron", ""])
def test_who_has_the_port(name: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.server_name = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = Config({**DEFAULTS.entries, "server.port": Value(server.server_port)})
        check = found(use.port, config)
        server.shutdown()
    assert check.mark == ("ok" if name else "warning") and not check.facts["free"]
    assert (check.says[-1] == "Heron is there: ready") if name else ("in use" in check.warnings[0])


def test_a_port_that_is_free() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        number = bound.getsockname()[1]
    assert found(use.port, Config({**DEFAULTS.entries, "server.port": Value(number)})).facts["free"]


def test_what_fails_is_a_line() -> None:
    def probe(check: Check) -> None:
        check.says.append("so far")
        raise ZeroDivisionError("by zero")

    check = checked("some", probe)
    assert (check.mark, check.says) == ("problem", ["so far"]) and "ZeroDivisionError: by zero" in check.problems[0]


def test_what_dies_apart_dies_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Died, match="signal 6"):
        apart("os", "abort")
    with pytest.raises(Died, match="ValueError: math domain error"):
        apart("math", "sqrt", -1)
    monkeypatch.setattr(checks, "PATIENCE", 0.5)
    with pytest.raises(Died, match=r"not done after"):
        apart("time", "sleep", 60)
    monkeypatch.setattr(checks, "PATIENCE", 30)
    assert apart("os.path", "split", "a/b") == ["a", "b"]


def test_every_check_may_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("broken")

    for module in (software, hardware, use):
        for name, value in vars(module).items():
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_"):
                monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(sys, "argv", ["heron", "doctor"])
    with pytest.raises(SystemExit) as end:
        main()
    out = capsys.readouterr().out
    assert end.value.code == doctor.EXIT_PROBLEM and out.count("RuntimeError: broken") == len(NAMES)
