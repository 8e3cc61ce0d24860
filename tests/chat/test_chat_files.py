"""Conversations in files, and the history of what was asked."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import heron
from heron import pocket
from heron.chat import commands, entry, store
from heron.chat.conversation import Conversation
from heron.chat.looks import Looks
from heron.chat.terminal import Terminal
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, RequestError


@pytest.fixture(scope="module")
def conversation() -> Iterator[Conversation]:
    made = Conversation(heron.load(pocket.path(), threads=1), "pocket")
    yield made
    made.close()


@pytest.fixture
def fresh(conversation: Conversation) -> Conversation:
    conversation.replace([], None)
    return conversation


def test_saved_conversations_come_back(fresh: Conversation, tmp_path: Path) -> None:
    fresh.replace(
        [{"role": "user", "content": "Grüße\n\x1b"}, {"role": "assistant", "content": "4", "reasoning_content": "Hm"}], "Be brief."
    )
    store.save(fresh, tmp_path / "a.json")
    assert store.load(tmp_path / "a.json") == (fresh.messages, "Be brief.", True)
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["format"], written["version"], written["model"]) == ("heron conversation", 1, "pocket")
    store.save(fresh, tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert text.startswith("# A conversation with pocket") and "## You\n\nGrüße" in text and "Hm" in text and "Be brief." in text


def test_messages_as_openai_has_them(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "\ud83d there"}]},
        {"role": "assistant", "content": "Hello", "refusal": None},
    ]
    for found in (messages, {"model": "gpt", "temperature": 1, "messages": messages}):
        path.write_text(json.dumps(found))
        assert store.load(path) == (
            [{"role": "user", "content": "Hi \ufffd there"}, {"role": "assistant", "content": "Hello"}],
            "Be brief.",
            False,
        )


def test_files_of_others_are_not_written_over(fresh: Conversation, tmp_path: Path) -> None:
    terminal = Terminal(fresh, SamplingParams(), Looks(), _no_opener, list)
    theirs, ours = tmp_path / "log.json", tmp_path / "talk.json"
    theirs.write_text('[{"role": "user", "content": "a"}]')
    commands.run(terminal, "load", str(theirs))
    with pytest.raises(RequestError, match="is there already"):
        commands.run(terminal, "save", str(theirs))
    commands.run(terminal, "save", str(ours))
    again = Terminal(fresh, SamplingParams(), Looks(), _no_opener, list)
    commands.run(again, "load", str(ours))
    commands.run(again, "save", str(ours))


def test_a_file_stays_where_it_cannot_be_written(fresh: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    fresh.replace([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], None)
    store.save(fresh, path)
    path.chmod(0o600)
    before = path.read_text()
    fresh.replace([], None)

    def full(self: Path, *args: object, **kwargs: object) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"a\.json"):
            store.save(fresh, path)
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]
    store.save(fresh, path)
    assert path.read_text() != before and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "not JSON"),
        ("3", "no conversation"),
        ("{}", "no conversation"),
        ('{"format": "heron-conversations", "version": 1, "messages": []}', "no conversation"),
        ('[{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]', "messages.1"),
        ('[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]', "messages.0"),
        ("[null]", "messages.0"),
        ('{"format": "heron conversation", "version": 9}', "version 9"),
        ('{"format": "heron conversation", "version": 1, "messages": 3}', "damaged"),
        ('{"format": "heron conversation", "version": 1, "messages": [{"role": "root", "content": ""}]}', "messages.0"),
        ('{"format": "heron conversation", "version": 1, "messages": [{"role": "user", "content": 4}]}', "messages.0"),
        ("[" * 100000, "not JSON"),
    ],
)
def test_files_that_are_no_conversations(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "talk.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=words):
        store.load(path)


def test_history_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    history = entry._history()
    history.append_string("a secret")
    file = entry.history_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "a secret" in file.read_text()
    assert list(entry._history().load_history_strings()) == ["a secret"]
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert type(entry._history()).__name__ == "InMemoryHistory"


def test_history_that_cannot_be_kept_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    history, file = entry._history(), entry.history_file()
    file.write_bytes(b"\n# then\n+kept\n\xff\xfe\x00\n+caf\xe9\n")
    assert list(history.load_history_strings()) == ["caf\ufffd", "kept"]

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(entry.FileHistory, "store_string", full)
    history.append_string("asked")
    assert "asked" in history.get_strings()
    file.unlink()
    file.mkdir()
    assert list(history.load_history_strings()) == []
    assert type(entry._history()).__name__ == "InMemoryHistory"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(entry, "history_file", homeless)
    assert type(entry._history()).__name__ == "InMemoryHistory"


def _no_opener(name: str, say: object) -> Any:
    raise HeronError(f"there is no {name}")
