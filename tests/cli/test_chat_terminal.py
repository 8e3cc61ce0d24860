"""`heron chat` in a real terminal: what is typed, the screen and the scrollback, Ctrl-C, and screens that change their size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heron import pocket

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")

ROOT = Path(__file__).resolve().parents[2]

#: Seconds until what is awaited must be there; it comes at once as a rule.
PATIENCE = 120.0

READY = "/help lists commands"


class Window:
    """A terminal of its own, on a tmux server of its own."""

    def __init__(
        self, folder: Path, columns: int, lines: int, script: str | None = None, pace: float = 0.0, options: str = "", jobs: bool = False
    ) -> None:
        """``script`` is what the model says, a token each ``pace`` seconds; with ``jobs`` a shell looks after it."""
        self.folder, self.socket = folder, str(folder / "tmux")
        environment = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), "OMP_NUM_THREADS": "1", "HERON_PACE": str(pace)}
        program = "-m heron"
        if script is not None:
            (folder / "script").write_text(script)
            program, environment["HERON_SAYS"] = str(Path(__file__).with_name("scripted.py")), str(folder / "script")
        line = " ".join(f"{name}={value}" for name, value in environment.items()) + f" {sys.executable} {program} chat -t 0 {options}"
        where = ("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines))
        self._tmux(*where, "bash --norc --noprofile -i" if jobs else f"cd {folder}; {line}; echo left: $?; cat")
        if jobs:
            self.ask(f"PS1='shell: '; clear; cd {folder}; {line}")

    def _tmux(self, *words: str) -> str:
        environment = {**os.environ, "TERM": "xterm-256color"} | {"TMUX": ""}
        return subprocess.run(["tmux", "-S", self.socket, *words], env=environment, capture_output=True, text=True, check=True).stdout

    def type(self, text: str, *keys: str) -> None:
        if text:
            self._tmux("send-keys", "-l", text)
        for key in keys:
            self._tmux("send-keys", key)

    def ask(self, text: str) -> None:
        self.type(text, "Enter")

    def paste(self, text: str) -> None:
        (self.folder / "paste").write_text(text)
        self._tmux("load-buffer", str(self.folder / "paste"))
        self._tmux("paste-buffer", "-p")

    def resize(self, columns: int, lines: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def all(self) -> str:
        """The scrollback too; lines that the terminal has wrapped are whole."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    @property
    def coloured(self) -> str:
        return self._tmux("capture-pane", "-p", "-e")

    @property
    def cursor(self) -> bool:
        """Whether it is shown."""
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    @property
    def title(self) -> str:
        return self._tmux("display-message", "-p", "#{pane_title}")

    def until(self, true: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, f"{what} did not come:\n{self.screen}"
            time.sleep(0.05)

    def sees(self, *texts: str) -> None:
        self.until(lambda: all(text in self.all for text in texts), " and ".join(texts))

    def ready(self) -> None:
        """An empty prompt."""
        self.until(lambda: READY in self.screen, "the prompt")

    def answers(self, question: str) -> str:
        """What is said to a question, when the prompt is there again."""
        self.ready()
        asked = re.compile(rf"^> {re.escape(question)} *$", re.MULTILINE)
        before = len(asked.findall(self.all))
        self.ask(question)
        self.until(lambda: len(asked.findall(self.all)) > before and READY in asked.split(self.all)[-1], f"an answer to {question}")
        return asked.split(self.all)[-1].partition("> ask anything")[0].strip()

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_window(columns: int = 80, lines: int = 24, **how: object) -> Window:
        opened.append(Window(tmp_path, columns, lines, **how))  # type: ignore[arg-type]
        opened[-1].ready()
        return opened[-1]

    yield open_window
    for each in opened:
        each.close()


def test_a_conversation(window: Callable[..., Window]) -> None:
    """With the model that ships: commands, files, several lines, another model."""
    it = window(100, 40)
    assert "the pocket model · 1,024 tokens of context" in it.screen
    first = it.answers("What can you do?")
    assert "heron" in first and "**" not in first
    it.until(lambda: re.search(r"█░+ \d+ of 1,024 tokens   [\d.]+ tokens/s", it.screen), "the meter")
    assert it.answers("/regenerate").endswith(first)  # the temperature is 0
    assert "did you mean /system?" in it.answers("/sytem x")
    assert "is set" in it.answers("/system You are a heron.")
    assert it.answers("/system") == "You are a heron."
    assert "temperature is 0.5" in it.answers("/set temperature 0.5")
    assert "takes a number" in it.answers("/set temperature warm") and "is 0" in it.answers("/set temperature 0")
    assert "in 1 turn" in it.answers("/tokens")

    it.paste("Two lines:\nhow do I quantize?")
    it.until(lambda: "> Two lines:\n  how do I quantize?" in it.screen, "the pasted lines")
    it.type("", "Enter")
    it.until(lambda: READY in it.all.partition("how do I quantize?")[2], "an answer to two lines")
    assert "in 2 turns" in it.answers("/tokens")
    it.type('"""a', "Enter")
    it.type("b", "C-j")
    it.type('c"""', "Enter")
    it.until(lambda: READY in it.all.partition('c"""')[2], "an answer to quoted lines")

    assert "saved as" in it.answers("/save talk.json")
    assert '"content": "a\\nb\\nc"' in (it.folder / "talk.json").read_text()
    assert "saved as" in it.answers("/save talk.json") and "saved as" in it.answers("/save talk.md")
    (it.folder / "mine.json").write_text("{}")
    assert "is there already" in it.answers("/save mine.json")
    assert "is empty" in it.answers("/clear")
    assert "in 3 turns" in it.answers("/load talk.json")
    assert "error" in it.answers("/load none.json") and "error" in it.answers("/model none.gguf")
    assert "in 3 turns" in it.answers("/tokens")
    assert "pocket · 1,024 tokens" in it.answers(f"/model {pocket.path()}")
    assert "taken back: a b c" in it.answers("/undo")

    it.type("half a question", "C-c")
    it.ready()
    it.type("", "C-c")
    it.sees("Ctrl-C again leaves")
    it.type("", "C-d")
    it.sees("left: 0")
    assert "+What can you do?" in (it.folder / "state/heron/chat_history").read_text()


def numbered(count: int) -> str:
    lines = "".join(f"Line {at} is **bold {at}** and long enough to be wrapped when it is narrow.\n\n" for at in range(count))
    code = "".join(f"x{at} = {at}\n" for at in range(count))
    return f"{lines}```python\n{code}```\n\nThe end."


def test_long_answers_ctrl_c_and_resizes(window: Callable[..., Window]) -> None:
    """What was drawn is in the scrollback once, in order, whatever the size of the screen was meanwhile."""
    count = 30
    it = window(70, 16, script=f"{numbered(count)}\f{numbered(150)}\fYes, still here.", pace=0.003, options="-c 16384 --stats")
    it.ask("Long")
    it.sees("Line 3 ")
    it.resize(44, 12)
    it.sees("Line 8 ")
    it.resize(100, 30)
    it.sees("Line 14 ")
    it.resize(60, 10)
    it.sees("The end.", "first after")
    it.resize(100, 50)
    it.ready()
    said = it.all.partition("> Long")[2]
    assert [int(each) for each in re.findall(r"^Line (\d+) is bold", said, re.MULTILINE)] == list(range(count))
    assert [int(each) for each in re.findall(r"^x(\d+) = \1$", said, re.MULTILINE)] == list(range(count))
    assert said.count("── python ─") == 1 and said.count("The end.") == 1 and "**" not in said

    it.ask("Again")
    it.until(lambda: "Line 2 " in it.all.partition("> Again")[2], "an answer under way")
    it.type("", "C-c")
    it.sees("stopped")
    it.ready()
    assert "The end." not in it.all.partition("> Again")[2]
    assert it.answers("Are you there?").startswith("Yes, still here.")
    assert "in 3 turns" in it.answers("/tokens")


def test_a_narrow_screen_reasoning_and_hostile_text(window: Callable[..., Window]) -> None:
    evil = "evil \x1b]0;pwned\x07\x1b[31mred \x1b[2Jgone"
    thinks = "<think>\nLet me see what it is that is asked of me here.\n</think>\n\nIt is **four**, of `4`."
    it = window(40, 14, script=f"{thinks}\f{evil}\fover", options="-c 2048")
    said = it.answers("What?")
    assert "│ Let me see what it is that is asked\n│ of me here." in said and said.endswith("It is four, of 4.")
    assert "\x1b[2m│ Let me see" in it.coloured and "think>" not in it.all
    assert all(len(line) <= 40 for line in it.screen.split("\n"))
    assert re.search(r"^ the pocket model +\d+/2,048|^ the pocket model +\d+ of 2,048", it.screen, re.MULTILINE)
    assert "evil ]0;pwned[31mred [2Jgone" in " ".join(it.answers("And?").split())
    assert "pwned" not in it.title
    it.type("", "C-c", "C-c")
    it.sees("left: 0")


SLOW = numbered(400) + "\fAnd so on."


def test_what_is_typed_and_pasted_while_it_answers(window: Callable[..., Window]) -> None:
    """It stands in the next prompt: what was pasted as one text, however long, and Ctrl-C comes through and takes nothing away."""
    it = window(70, 16, script=SLOW, pace=0.01, options="-c 16384")
    it.ask("Long")
    it.sees("Line 1 ")
    it.paste("".join(f"pasted {at} with some words that make it longer than a terminal's buffer\n" for at in range(500)) + "the last")
    it.type(" and typed")
    it.type("", "C-c")
    it.until(lambda: "the last and typed" in it.screen, "what was pasted")
    assert "stopped" in it.all and "pasted 498 " in it.screen
    it.type("", "C-c")
    assert "in 1 turn" in it.answers("/tokens")


def test_suspended_and_resumed(window: Callable[..., Window]) -> None:
    """The shell has a cursor and an echo, and the answer goes on below what the shell wrote."""
    it = window(70, 16, script=SLOW, pace=0.02, options="-c 16384", jobs=True)
    it.ask("Long")
    it.sees("Line 1 ")
    assert not it.cursor
    it.type("", "C-z")
    it.sees("Stopped")
    it.until(lambda: it.screen.rstrip().endswith("shell:"), "the shell")
    assert it.cursor
    it.ask("stty -a | tr ' ;' '\\n' | grep -x -e echo -e icrnl | sort | tr '\\n' ,; echo")
    it.sees("\necho,icrnl,")
    it.ask("fg")
    it.until(lambda: re.search(r"Line \d+ is bold", it.all.split("shell: fg")[-1]), "the rest of the answer")
    it.type("", "C-c")
    it.sees("stopped")
    it.ready()
    it.type("abc", "C-z")
    it.until(lambda: it.screen.rstrip().endswith("shell:"), "the shell")
    it.ask("fg")
    it.until(lambda: "> abc" in it.screen, "the line that was begun")
