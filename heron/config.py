"""Settings: defaults < the user's file < the project's < ``--config`` < the environment (< flags, which heron.cli puts on top).

docs/configuration.md says it for users. Nothing here is imported by a model or an engine: what they are told comes as arguments.
"""

from __future__ import annotations

import math
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heron.errors import ConfigError

#: How long, as settings and requests write it; and in words.
_NUMBER = r"(\d+(\.\d*)?|\.\d+)"
TIME = re.compile(rf"\s*(forever|-?({_NUMBER}(ms|[smhd]))+|-?{_NUMBER})\s*", re.IGNORECASE | re.ASCII)
A_TIME = 'a time such as "5m", "30s" or "1h30m", a number of seconds, or "forever"'

Kind = type[str] | type[int] | type[float] | type[bool] | type[tuple]


@dataclass(frozen=True)
class Setting:
    """One key of a section. A number lies between ``least`` and ``most``; a tuple is a list of texts; a ``secret`` is never shown.

    A text that is a time may be written as a number, too.
    """

    section: str
    key: str
    default: str | int | float | bool | tuple[str, ...]
    about: str
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()
    secret: bool = False
    is_time: bool = False
    variables: tuple[str, ...] = ()  # older names in the environment

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return f"HERON_{self.section}_{self.key}".upper()

    @property
    def kind(self) -> Kind:
        return type(self.default)

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_time:
            return A_TIME
        text = {str: "a text", bool: "true or false", tuple: "a list of texts", int: "a whole number", float: "a number"}[self.kind]
        if self.kind not in (int, float) or self.least == -math.inf:
            return text
        return f"{text} from {self.least:g}" + (f" to {self.most:g}" if self.most <= 65536 else " on")

    def checked(self, value: Any) -> Any:
        """``value`` as this setting has it. Raises ValueError, saying what it must be."""
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is tuple and isinstance(value, list) and all(isinstance(text, str) for text in value):
            value = tuple(value)
        if self.is_time and type(value) in (int, float):
            value = str(value)
        fits = type(value) is self.kind and (not self.choices or value in self.choices)
        fits = fits and (not self.is_time or TIME.fullmatch(value) is not None)
        if not fits or (self.kind in (int, float) and not self.least <= value <= self.most):
            shown = "that" if self.secret else _written(value)
            raise ValueError(f"{self.name} is {shown}, and must be {self.wanted}")
        return value

    def read(self, text: str) -> Any:
        """The value that a variable of the environment writes. Raises ValueError."""
        try:
            if self.kind is bool:
                return _BOOLEANS[text.strip().lower()]
            value: Any = text.replace(",", " ").split() if self.kind is tuple else self.kind(text)
        except (KeyError, ValueError):
            value = text
        return self.checked(value)


_BOOLEANS = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(("0", "false", "f", "no", "n", "off"), False)

SETTINGS = (
    Setting("server", "host", "127.0.0.1", "Address to listen on; 0.0.0.0 is every one of this machine."),
    Setting("server", "port", 11435, "Port to listen on; 0: any that is free.", 0, 65535),
    Setting("server", "request_timeout_secs", 120.0, "Seconds from a request's arrival to its end; 0: as long as it takes.", 0, 1e9),
    Setting("server", "drain_timeout_secs", 30.0, "Seconds that running requests have when the server is told to stop.", 0, 1e9),
    Setting("server", "max_queue", 512, "Requests that may wait; more are refused with 429.", 1, 2**31 - 1),
    Setting("server", "keep_alive", "5m", "How long a model stays that nobody asks, of several; forever, 0: not at all.", is_time=True),
    Setting("server", "max_memory_gib", 0.0, "Memory that models may take together; 0: what there is.", 0, 1e6),
    Setting("server", "max_models", 0, "Models that are in memory at once; 0: as many as fit.", 0, 65536),
    Setting("server", "api_key", (), "Keys that clients must send; none: whoever can connect.", secret=True, variables=("HERON_API_KEY",)),
    Setting("server", "api_key_file", "", "A file with such keys, one a line."),
    Setting("server", "cors", (), "Origins whose web pages may ask; * is any."),
    Setting("server", "log_level", "info", "What is logged.", choices=("debug", "info", "warning", "error")),
    Setting("server", "log_format", "plain", "Lines of text, or objects.", choices=("plain", "json")),
    Setting("inference", "max_batch_size", 8, "Requests that a server computes at once; others wait.", 1, 65536),
    Setting("inference", "max_sequence_length", 0, "Context in tokens; 0: the model's own, reduced to fit.", 0, 2**31 - 1),
    Setting("inference", "default_max_new_tokens", 512, "Tokens of an answer; -1: what the context holds.", -1, 2**31 - 1),
    Setting("inference", "temperature", 0.7, "0 takes the likeliest token.", 0, 100),
    Setting("inference", "top_p", 0.9, "Keep the likeliest tokens that add up to p.", 0, 1),
    Setting("model", "cache_dir", "", "Where models are kept; empty: where Hugging Face's tools keep them."),
    Setting("device", "prefer_gpu", True, "Compute on a CUDA GPU that the model fits on; false: on the CPU."),
    Setting("device", "cuda_device_id", 0, "Which CUDA GPU, of several.", 0, 1023),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
SECTIONS: tuple[str, ...] = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


@dataclass(frozen=True)
class Value:
    """A setting's value, and who said it: ``default``, ``FILE:LINE`` or a variable's name."""

    value: Any
    source: str = "default"


@dataclass(frozen=True)
class Config(Mapping[str, Any]):
    """Values by ``section.key``; ``entries`` say where from. ``files`` are those that were read, ``warnings`` what is not heeded."""

    entries: Mapping[str, Value] = field(default_factory=lambda: {s.name: Value(s.default) for s in SETTINGS})
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.entries[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


DEFAULTS = Config()


def user_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's own settings are, whether there are any or not."""
    base = environment.get("XDG_CONFIG_HOME") or environment.get("APPDATA" if sys.platform == "win32" else "", "")
    return (Path(base) if Path(base).is_absolute() else Path(os.path.expanduser("~/.config"))) / "heron" / "config.toml"


def project_file(folder: Path | None = None) -> Path:
    """Where the settings of those who work in ``folder`` are; the working directory if left out."""
    return (folder or Path()) / "config" / "default.toml"


def load_config(named: Path | None = None, environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> Config:
    """All but the flags; ``named`` is the file that ``--config`` names.

    Raises ConfigError for a key that there is not and a value that it cannot have, naming the file and the line, or the variable.
    """
    values, files = dict(DEFAULTS.entries), []
    for path in (user_file(environment), project_file(folder), named):
        if path is None or (path is not named and not _is_there(path)):
            continue
        found = _read(path, another=path == project_file(folder) and path is not named)
        if found is not None:
            values |= found
            files.append(path)
    for setting in SETTINGS:
        for variable in (*setting.variables, setting.variable):
            if text := environment.get(variable, "").strip():  # empty is not set, as compose files write it
                try:
                    values[setting.name] = Value(setting.read(text), variable)
                except ValueError as error:
                    raise ConfigError(f"{variable} in the environment: {error}") from None
    return Config(values, tuple(files), tuple(_unknown(environment)))


def _is_there(path: Path) -> bool:
    """Whether it is a file. Raises ConfigError where that is not to be known: keys may stand in it that nobody should go without."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        where = "; HOME or XDG_CONFIG_HOME names another user's folder" if path.is_absolute() else "; begin in another folder"
        raise ConfigError(f"the configuration {str(path)!r} cannot be looked at: {error.strerror}{where}") from None


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning of each variable that looks like a setting, by its section or nearly by all of its name, and is none."""
    from difflib import get_close_matches

    known = [name for setting in SETTINGS for name in (setting.variable, *setting.variables)]
    sections = tuple(f"HERON_{section}_".upper() for section in SECTIONS)
    for variable in environment:
        if variable in known or not variable.startswith("HERON_"):
            continue
        if variable.startswith(sections) or get_close_matches(variable, known, 1, 0.9):
            yield f"{variable} in the environment is no setting, and is not heeded{_nearest(variable, known)}"


def _read(path: Path, another: bool) -> dict[str, Value] | None:
    """What a file sets. None for one of ``another`` program's: a ``config/default.toml`` that has no section of ours."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {str(path)!r} is not UTF-8 text, at byte {error.start}") from None
    parse, refused = _toml()
    try:
        tables = parse(text)
    except refused as error:
        told = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"{path}:{told[1] if told else _line(text, lambda tables: False)}: this is not TOML: {error}") from None
    if another and not set(tables) & set(SECTIONS):
        return None
    found = {}
    for section, keys in tables.items():
        where = _place(path, text, section)
        if section not in SECTIONS:
            there = f"there are {', '.join(f'[{name}]' for name in SECTIONS)}"
            raise ConfigError(f"{where}: there is no section [{section}]; {there}{_nearest(section, SECTIONS)}")
        if not isinstance(keys, dict):
            raise ConfigError(f"{where}: {section} is a section, with its keys in lines below [{section}]")
        for key, value in keys.items():
            where = _place(path, text, section, key)
            setting = BY_NAME.get(f"{section}.{key}")
            if setting is None:
                known = [each.key for each in SETTINGS if each.section == section]
                raise ConfigError(f"{where}: [{section}] has no key {key!r}{_nearest(key, known) or '; it has ' + ', '.join(known)}")
            try:
                found[setting.name] = Value(setting.checked(value), where)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from None
    return found


def _place(path: Path, text: str, section: str, key: str | None = None) -> str:
    """``FILE:LINE`` of a section's beginning, or of a key in it."""

    def there(tables: dict[str, Any]) -> bool:
        return section in tables and (key is None or (isinstance(tables[section], dict) and key in tables[section]))

    return f"{path}:{_line(text, there)}"


def _line(text: str, there: Callable[[dict[str, Any]], bool]) -> int:
    """The line where the statement begins after which ``there`` is so, or where the last one begins that is never whole.

    The parser tells no lines, but it tells whether a text is whole: what lies between one whole beginning of the file and the next is
    one statement.
    """
    parse, refused = _toml()
    lines, whole = text.split("\n"), 0
    for count in range(1, len(lines) + 1):
        try:
            tables = parse("\n".join(lines[:count]) + "\n")
        except refused:
            continue
        if there(tables):
            break
        whole = count
    return min(whole + 1, len(lines))


def _toml() -> tuple[Callable[[str], dict[str, Any]], type[Exception]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads, tomllib.TOMLDecodeError


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""


def _written(value: Any) -> str:
    """A value as TOML writes it, if it is short."""
    import json

    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # dates and times
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
