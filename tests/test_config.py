"""The configuration: who wins, and what is said of what is wrong."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from heron.cli.reference import group
from heron.cli.settings import OPTIONS, default_map
from heron.config import BY_NAME, DEFAULTS, SETTINGS, Setting, Value, load_config, project_file, user_file
from heron.errors import ConfigError
from heron.server import keep_alive

#: The keys and defaults that were agreed on; others may be added.
AGREED = {
    "server.host": "127.0.0.1",
    "server.port": 11435,
    "server.request_timeout_secs": 120,
    "inference.max_batch_size": 8,
    "inference.max_sequence_length": 0,
    "inference.default_max_new_tokens": 512,
    "inference.temperature": 0.7,
    "inference.top_p": 0.9,
    "model.cache_dir": "",
    "device.prefer_gpu": True,
    "device.cuda_device_id": 0,
}

#: Values of each type that are nobody's default, for as many places as can say one; and how TOML and a variable write them.
OTHERS: dict[type, list[Any]] = {
    str: ["a", "b", "c", "d"],
    int: [11, 12, 13, 14],
    float: [0.11, 0.12, 0.13, 0.14],
    bool: [False, True, False, True],
    tuple: [("a",), ("b", "c"), ("d",), ("e", "f")],
}


def others(setting: Setting) -> list[Any]:
    if setting.is_time:
        return ["1m", "2m", "3m", "4m"]
    return list(setting.choices[:4]) * 2 if setting.choices else OTHERS[setting.kind]


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def written(path: Path, setting: Setting, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# settings\n\n[{setting.section}]\n{setting.key} = {toml(value)}\n")
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def test_the_defaults_are_those_that_were_agreed_on(tmp_path: Path, home: dict[str, str]) -> None:
    found = load_config(environment=home, folder=tmp_path)
    assert {name: found[name] for name in AGREED} == AGREED
    assert found == DEFAULTS and {value.source for value in found.entries.values()} == {"default"}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_place_wins_over_those_before_it(tmp_path: Path, home: dict[str, str], setting: Setting) -> None:
    first, second, third, fourth = others(setting)[:4]
    environment = dict(home)

    def found(named: Path | None = None) -> tuple[Any, str]:
        value = load_config(named, environment, tmp_path).entries[setting.name]
        assert type(value.value) is setting.kind
        return value.value, value.source

    user = written(user_file(home), setting, first)
    assert found() == (first, f"{user}:4")
    project = written(project_file(tmp_path), setting, second)
    assert found() == (second, f"{project}:4")
    named = written(tmp_path / "named.toml", setting, third)
    assert found(named) == (third, f"{named}:4")
    environment[setting.variable] = " ".join(fourth) if isinstance(fourth, tuple) else str(fourth)
    assert found(named) == (fourth, setting.variable)
    environment[setting.variable] = ""
    assert found(named) == (third, f"{named}:4")


FLAGS = [(command, parameter, name) for command, options in OPTIONS.items() for parameter, name in options.items()]


@pytest.mark.parametrize(("command", "parameter", "name"), FLAGS, ids=lambda text: text)
def test_a_flag_wins_over_the_configuration(command: str, parameter: str, name: str, tmp_path: Path, home: dict[str, str]) -> None:
    setting = BY_NAME[name]
    configured, given = others(setting)[:2]
    config = load_config(written(tmp_path / "named.toml", setting, configured), home, tmp_path)
    made = group().get_command(None, command)
    option = next(each for each in made.params if each.name == parameter)
    flag = next(text for text in option.opts if text.startswith("--"))

    def parsed(*args: str) -> Any:
        needed = {"perplexity": ["model", "text"], "imatrix": ["model", "text"], "list": []}.get(command, ["model"])
        with made.make_context(command, [*needed, *args], default_map=default_map(config)[command]) as ctx:
            value = ctx.params[parameter]
        return tuple(value) if setting.kind is tuple else setting.kind(value)

    assert parsed() == configured
    words = given if isinstance(given, tuple) else (given,)
    assert parsed(*(text for word in words for text in (flag, str(word)))) == given


def test_every_setting_has_a_flag() -> None:
    """--gpu is prefer_gpu's: tests/cli/test_manners.py."""
    assert {s.name for s in SETTINGS} - {name for _, _, name in FLAGS} == {"device.prefer_gpu"}


def test_variables_that_are_older_than_the_sections_hold(tmp_path: Path, home: dict[str, str]) -> None:
    old = home | {"HERON_API_KEY": "old", "HERON_FUSE": "0", "HERON_ISA": "avx2", "HERON_TEST_DEVICE": "cpu"}
    found = load_config(environment=old, folder=tmp_path)
    assert found["server.api_key"] == ("old",) and not found.warnings
    for order in (old | {"HERON_SERVER_API_KEY": "new"}, {"HERON_SERVER_API_KEY": "new"} | old):
        assert load_config(environment=order, folder=tmp_path)["server.api_key"] == ("new",)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[server]\nport = "many"', 2, ['server.port is "many"', "a whole number from 0 to 65535"]),
        ("[server]\nport = 65536", 2, ["65536", "from 0 to 65535"]),
        ("[server]\nport = true", 2, ["true"]),
        ("[server]\nport = 1.0", 2, ["1.0"]),
        ("[server]\nhost = 1", 2, ["a text"]),
        ("[server]\n\n# the port\n  prot = 1", 4, ["[server] has no key 'prot'", "did you mean port?"]),
        ("[server]\nzzz = 1", 2, ["'zzz'", "host, port"]),
        ("[sever]\nport = 1", 1, ["no section [sever]", "did you mean server?"]),
        ("server = 1", 1, ["server is a section"]),
        ("[[server]]\nport = 1", 1, ["server is a section"]),
        ("port = 1\n[server]", 1, ["no section [port]"]),
        ("[device]\nprefer_gpu = 1\n", 2, ["true or false"]),
        ("[inference]\ntemperature = nan", 2, ["a number from 0 to 100"]),
        ("[inference]\ntop_p = 1.5", 2, ["from 0 to 1"]),
        ("[inference]\nmax_batch_size = 0", 2, ["0", "from 1 to 65536"]),
        ("[inference]\ndefault_max_new_tokens = -2", 2, ["from -1 on"]),
        ('[server]\nhost = """\nprot = 1\n"""\ncors = [\n "a",\n 1,\n]', 5, ["a list of texts"]),
        ("server.port = 1\nserver.prot = 2", 2, ["'prot'"]),
        ("server = {port = 1, prot = 2}", 1, ["'prot'"]),
        ('[server]\nkeep_alive = "soon"', 2, ['"soon"', 'a time such as "5m"']),
        ("[server]\nkeep_alive = true", 2, ["true", 'a time such as "5m"']),
        ('[server]\nlog_level = "loud"', 2, ["debug, info, warning, error"]),
        ('[server]\n"port" = []', 2, ["[]"]),
        ("[server]\nhost = 2026-11-21", 2, ["2026-11-21"]),
        ("[server]\nport = 1\nport = 2", 3, ["not TOML"]),
        ("[server]\nport 1\n", 2, ["not TOML"]),
        ('[server]\nhost = "\n\n', 2, ["not TOML"]),
        ('[server]\nport = 1\nhost = """\n\n', 3, ["not TOML"]),
        ("[server]\r\nport = 1\r\nprot = 1\r\n", 3, ["'prot'"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(
    tmp_path: Path, home: dict[str, str], text: str, line: int, words: list[str]
) -> None:
    named = tmp_path / "named.toml"
    named.write_bytes(text.encode())
    with pytest.raises(ConfigError) as wrong:
        load_config(named, home, tmp_path)
    said = str(wrong.value)
    assert said.startswith(f"{named}:{line}: ") and "\n" not in said
    assert not [word for word in words if word not in said], said


def test_what_is_wrong_in_the_environment_is_named(tmp_path: Path, home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r'^HERON_SERVER_PORT in the environment: server.port is "many", and must be a whole number'):
        load_config(environment=home | {"HERON_SERVER_PORT": "many"}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"HERON_DEVICE_PREFER_GPU.*true or false"):
        load_config(environment=home | {"HERON_DEVICE_PREFER_GPU": "perhaps"}, folder=tmp_path)
    for wrong in ("HERON_SERVER_PROT", "HERON_SERVR_PORT", "HERON_SERVERPORT"):
        found = load_config(environment=home | {wrong: "1", "HERON_OTHER": "1", "HERON_ISA": "avx2"}, folder=tmp_path)
        assert found.warnings == (f"{wrong} in the environment is no setting, and is not heeded; did you mean HERON_SERVER_PORT?",)


def test_booleans_as_they_are_spelled(tmp_path: Path, home: dict[str, str]) -> None:
    for value, spellings in ((True, "1 true True TRUE t yes Y on"), (False, "0 false False FALSE f no N off")):
        for text in spellings.split():
            assert load_config(environment=home | {"HERON_DEVICE_PREFER_GPU": f" {text} "}, folder=tmp_path)["device.prefer_gpu"] is value


def test_a_time_may_be_a_number(tmp_path: Path, home: dict[str, str]) -> None:
    named = tmp_path / "named.toml"
    for text, seconds in (("300", 300), ("0", 0), ("-1", math.inf), ("1.5", 1.5), ('"1h30m"', 5400), ('" Forever "', math.inf)):
        named.write_text(f"[server]\nkeep_alive = {text}")
        assert keep_alive.seconds(load_config(named, home, tmp_path)["server.keep_alive"]) == seconds


def test_a_file_as_windows_editors_write_it(tmp_path: Path, home: dict[str, str]) -> None:
    named = tmp_path / "named.toml"
    named.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert load_config(named, home, tmp_path).entries["server.port"] == Value(1, f"{named}:2")


def test_a_secret_is_in_no_message(tmp_path: Path, home: dict[str, str]) -> None:
    named = tmp_path / "named.toml"
    named.write_text('[server]\napi_key = "hush"')
    with pytest.raises(ConfigError, match=r"server\.api_key is that, and must be a list of texts") as wrong:
        load_config(named, home, tmp_path)
    assert "hush" not in str(wrong.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml' cannot be read: No such file"):
        load_config(tmp_path / "no.toml", home, tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8 text, at byte 0"):
        load_config(tmp_path / "binary.toml", home, tmp_path)


def test_another_programs_default_file_is_left_alone(tmp_path: Path, home: dict[str, str]) -> None:
    """config/default.toml is a name that other programs use too; one with a section of ours is held to our rules."""
    file = project_file(tmp_path)
    file.parent.mkdir()
    file.write_text("[database]\nport = 1\n")
    assert load_config(environment=home, folder=tmp_path) == DEFAULTS
    file.write_text("[server]\nport = 1\n[database]\nport = 1\n")
    with pytest.raises(ConfigError, match=r"default\.toml:3: there is no section \[database\]"):
        load_config(environment=home, folder=tmp_path)


def test_where_the_users_file_is(tmp_path: Path) -> None:
    assert user_file({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "heron" / "config.toml"
    for elsewhere in ({}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "not/absolute"}):
        assert user_file(elsewhere) == Path.home() / ".config" / "heron" / "config.toml"


def test_the_page_lists_every_variable_that_is_read() -> None:
    root = Path(__file__).resolve().parents[1]
    sources = [path.read_text() for kind in ("heron/**/*.py", "csrc/*.cpp") for path in root.glob(kind)]
    read = {name for text in sources for name in re.findall(r"""(?:environ\.get|getenv)\(\s*["'](\w+)["']""", text)}
    page = (root / "docs" / "configuration.md").read_text().partition("## Other variables")[2]
    assert len(read) > 8 and sorted(name for name in read if f"`{name}" not in page) == []


def test_a_file_that_cannot_be_looked_at_is_an_error_that_says_whose_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under sudo, which may leave HOME: there may be keys in it, so it is not passed over."""
    real = Path.stat

    def forbidden(self: Path, **how: Any) -> Any:
        if self.name == "config.toml":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", forbidden)
    with pytest.raises(ConfigError, match=r"config.toml' cannot be looked at: Permission denied; HOME or XDG_CONFIG_HOME names another"):
        load_config(None, {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)
