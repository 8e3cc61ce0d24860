"""What every command has: help with examples, settings, completion, and errors that end well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import heron.cli
from heron import pocket
from heron.cli import COMMANDS, help, main, reference
from heron.cli.where import _preferred
from heron.config import DEFAULTS, SETTINGS, Config, Value

ROOT = Path(__file__).resolve().parents[2]
NAMES = list(COMMANDS)


def command(*args: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "heron", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, cwd=cwd, env=environment)


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command line in this process."""
    monkeypatch.setattr(sys, "argv", ["heron", *args])
    with pytest.raises(SystemExit) as end:
        main()
    code = end.value.code
    assert code is None or isinstance(code, int)
    return code or 0, *capsys.readouterr()


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples_and_a_line_for_each_option(name: str) -> None:
    made = reference.group().get_command(None, name)
    told, _, examples = made.help.partition("\b\n")
    assert told.strip().endswith(".") and f"heron {name}" in examples
    assert not [each.name for each in help.options(made) if not (each.help or "").strip().endswith(".")]
    assert {"--config", "--debug"} <= {text for each in made.params for text in each.opts}


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_into_eighty_columns(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = ended(monkeypatch, capsys, *([name] if name else []), "--help")
    lines = out.splitlines()
    assert (status, err) == (0, "") and max(map(len, lines)) <= 80 and lines[0].startswith(f"Usage: heron {name}".rstrip())
    assert [line for line in lines if line and line[0] != " "][1:3] == ["Examples:", "Arguments:" if "Arguments:" in lines else "Options:"]
    assert "-h, --help" in out and "<" not in "".join(line[:34] for line in lines[lines.index("Options:") :])


def test_the_page_of_commands_is_made_of_them() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference.page(), "run: make docs"


def test_help_shows_the_defaults_that_hold(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[server]\nport = 4321\napi_key = ['hush']\n[inference]\ntop_p = 0.321\n")
    for line in (["--config", file, "serve", "--help"], ["serve", "--config", file, "--help"]):
        said = command(*line, HERON_INFERENCE_TEMPERATURE="0.123").stdout
        assert "4321" in said and "0.321" in said and "0.123" in said and "[default: 11435" not in said and "hush" not in said


def test_config_shows_values_and_where_they_came_from(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "default.toml").write_text("[server]\nport = 1\nhost = 'h'\napi_key = ['hush']\n")
    (tmp_path / "named.toml").write_text("[server]\nport = 2\n[inference]\nmax_batch_size = 3\n")
    done = command("config", "--config", "named.toml", cwd=tmp_path, HERON_INFERENCE_MAX_BATCH_SIZE="4")
    assert done.returncode == 0 and not done.stderr and "hush" not in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["server.host"] == ['"h"', "config/default.toml:3"]
    assert rows["server.port"] == ["2", "named.toml:2"]
    assert rows["server.api_key"] == ['"set"', "config/default.toml:4"]
    assert rows["inference.max_batch_size"] == ["4", "HERON_INFERENCE_MAX_BATCH_SIZE"]
    assert rows["inference.top_p"] == ["0.9", "default"]
    told = json.loads(command("--config", "named.toml", "config", "--json", cwd=tmp_path).stdout)
    assert told["settings"]["server.port"] == {"value": 2, "source": "named.toml:2"}
    assert told["files"] == ["config/default.toml", "named.toml"]


def test_config_names_the_file_to_edit(tmp_path: Path) -> None:
    users = tmp_path / "xdg" / "heron" / "config.toml"
    home = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert command("config", "--path", cwd=tmp_path, **home).stdout == f"{users}\n"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "default.toml").write_text("[server]\nwrong = 1\n")
    assert command("config", "--path", cwd=tmp_path, **home).stdout == "config/default.toml\n"
    assert command("config", "--path", "--config", "x.toml", cwd=tmp_path, **home).stdout == "x.toml\n"


@pytest.mark.parametrize("line", [["run", "-p", "hi"], ["serve"], ["config"], ["info", "x"]], ids=" ".join)
def test_a_wrong_setting_ends_every_command_alike(tmp_path: Path, line: list[str]) -> None:
    (tmp_path / "wrong.toml").write_text("[server]\nprot = 1\n")
    done = command(*line, "--config", "wrong.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "heron: error: wrong.toml:2: [server] has no key 'prot'; did you mean port?\n"


def test_an_unknown_variable_is_told_once(tmp_path: Path) -> None:
    done = command("info", "/no/such", cwd=tmp_path, HERON_SERVER_PROT="1")
    assert done.stderr.count("HERON_SERVER_PROT") == 1 and "did you mean HERON_SERVER_PORT?" in done.stderr


@pytest.mark.parametrize("prefers", [True, False])
def test_a_gpu_is_preferred_unless_something_else_is_asked_for(prefers: bool) -> None:
    config = Config({**DEFAULTS.entries, "device.prefer_gpu": Value(prefers)})

    def gpu(said: bool | None = None, **given: Any) -> bool | None:
        ctx: Any = SimpleNamespace(obj=config, params=given)
        return _preferred(ctx, said)

    assert gpu() is gpu(backend="torch") is (None if prefers else False)
    assert gpu(True) is True and gpu(False) is False
    assert gpu(device="cuda:1") is None and gpu(gpu_layers=3) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [([], False), (["--gpu"], True), (["--device", "cuda:1"], None), (["-ngl", "2"], None), (["--cuda-device", "1"], False)],
    ids=str,
)
def test_not_to_prefer_a_gpu_is_no_gpu(line: list[str], expected: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def opened(model: str | None, **options: Any) -> None:
        given.update(options)
        raise KeyboardInterrupt

    monkeypatch.setenv("HERON_DEVICE_PREFER_GPU", "false")
    monkeypatch.setenv("HERON_DEVICE_CUDA_DEVICE_ID", "3")
    for name in ("run", "embed", "bench"):
        module = __import__(COMMANDS[name][0], fromlist=[name])
        monkeypatch.setattr(module, "open_model", opened)
        words = {"run": ["-p", "hi"], "embed": ["model", "text"], "bench": []}[name]
        monkeypatch.setattr(sys, "argv", ["heron", name, *words, *line])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 130
        assert given["gpu"] is expected and given["cuda_device_id"] == (1 if "--cuda-device" in line else 3)


def test_how_answers_are_made_comes_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[inference]\ntemperature = 0\ndefault_max_new_tokens = 3\nmax_sequence_length = 64\n")
    done = command("run", "--config", file, "-p", "hi", "--stats")
    assert done.returncode == 0 and "64 tokens, reduced" in done.stderr
    assert "the answer is cut after 3 tokens; -n 256 allows more" in done.stderr
    again = command("run", "--config", file, "-p", "hi", "-n", "5")
    assert again.stdout.startswith(done.stdout.rstrip("\n")) and len(again.stdout) > len(done.stdout) and not again.stderr


def test_models_are_looked_for_where_the_configuration_says(tmp_path: Path) -> None:
    snapshot = tmp_path / "cache" / "models--org--small" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "small-Q8_0.gguf").symlink_to(pocket.path())
    file = tmp_path / "some.toml"
    file.write_text(f"[model]\ncache_dir = {str(tmp_path / 'cache')!r}\n")
    here = {"HF_HUB_OFFLINE": "1"}
    assert json.loads(command("info", "org/small", "--json", "--config", file, **here).stdout)["path"].startswith(str(snapshot))
    assert [row["path"] for row in json.loads(command("list", "--json", "--config", file, **here).stdout)] == [
        str(snapshot / "small-Q8_0.gguf")
    ]
    assert command("list", "--json", "--config", file, "--cache-dir", tmp_path / "other").stdout == "[]\n"
    assert command("run", "org/small", "-p", "hi", "-n", "1", "--config", file, **here).returncode == 0
    assert command("run", "org/small", "-p", "hi", "-n", "1", HF_HUB_CACHE=str(tmp_path), **here).returncode == 2


def broken(error: BaseException) -> Any:
    def info(path: str) -> None:
        raise error

    return SimpleNamespace(info=info)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("two\nlines"), 70, "heron: this is a bug in Heron: ValueError: two lines (the same with --debug"),
        (AssertionError(), 70, "heron: this is a bug in Heron: AssertionError: ("),
        (PermissionError(13, "Permission denied", "/a/b"), 2, "heron: error: the system says: Permission denied: /a/b"),
        (OSError(28, "No space left on device"), 2, "heron: error: the system says: No space left on device"),
        (
            ModuleNotFoundError("No module named 'numpy'", name="numpy"),
            2,
            "heron: error: a library that is needed cannot be loaded: No module",
        ),
        (ImportError("libx.so.1: cannot open"), 2, "heron: error: a library that is needed cannot be loaded: libx.so.1"),
        (ImportError("cannot import name 'x'", name="heron.cli"), 70, "heron: this is a bug in Heron: ImportError"),
        (MemoryError(), 2, "heron: error: there is not enough memory; heron plan tells"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_how_commands_end(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heron.cli, "import_module", lambda name: broken(error))
    status, out, err = ended(monkeypatch, capsys, "info", "x")
    assert (status, out) == (code, "") and err.startswith(said) and err.count("\n") == (1 if said else 0)
    status, out, err = ended(monkeypatch, capsys, "info", "x", "--debug")
    assert status == code and ("Traceback" in err) == bool(said)


def test_what_nobody_reads_any_more_is_no_bug() -> None:
    line = f"{sys.executable} -m heron completion fish | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("# fish") and "Traceback" not in done.stderr and "bug" not in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_before_the_start_is_no_bug(closed: str, tmp_path: Path) -> None:
    for line in ("run -p hi -n 2", "list", "config"):
        script = f"{sys.executable} -m heron {line} {closed}; echo $? > status"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert (tmp_path / "status").read_text() == "0\n" and "bug" not in done.stderr


def test_completion_of_other_shells_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, capsys, "completion", "tcsh") == (
        2,
        "",
        "heron: error: there is no completion for 'tcsh'; there is for bash, zsh, fish\n",
    )


#: What is typed, and what must be offered.
TYPED = [
    ("heron se", {"serve"}),
    ("heron --ver", {"--version"}),
    ("heron run --temp", {"--temperature", "--temp"}),
    ("heron serve --log-format ", {"plain", "json"}),
    ("heron --debug serve --backend na", {"native"}),
    ("heron serve --log-format=js", {"json"}),
    ("heron completion ", {"bash", "zsh", "fish"}),
    ("heron run mod", {"model.gguf"}),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(("typed", "offered"), TYPED, ids=lambda value: value if isinstance(value, str) else "")
def test_bash_completes(typed: str, offered: set[str], tmp_path: Path) -> None:
    words = typed.replace("=", " = ").split(" ")  # as readline breaks words
    quoted = " ".join(f"'{word}'" for word in words)
    script = tmp_path / "heron.bash"
    script.write_text(command("completion", "bash").stdout)
    ask = f"source '{script}'; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _heron; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=20)
    found = set(done.stdout.split())
    assert not done.stderr and found == (set() if typed == "heron run mod" else offered)  # files are bash's own


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
@pytest.mark.parametrize(("typed", "offered"), TYPED, ids=lambda value: value if isinstance(value, str) else "")
def test_fish_completes(typed: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "heron.fish").write_text(command("completion", "fish").stdout)
    (tmp_path / "model.gguf").touch()
    done = subprocess.run(
        ["fish", "-c", f"source heron.fish; complete -C '{typed}'"], capture_output=True, text=True, timeout=20, cwd=tmp_path
    )
    assert {line.split("\t")[0].rpartition("=")[2] for line in done.stdout.splitlines()} == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    (tmp_path / "_heron").write_text(command("completion", "zsh").stdout)
    ask = (
        f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -D -u; echo $_comps[heron]; autoload +X _heron; functions -c _heron x"
    )
    done = subprocess.run(["zsh", "-f", "-c", ask], capture_output=True, text=True, timeout=20)
    assert done.stdout == "_heron\n" and not done.stderr
