"""Commands, files, the meter and the line that is typed, each by itself."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

import heron
from heron import pocket
from heron.chat import commands, entry, meter
from heron.chat.conversation import Conversation
from heron.chat.looks import Looks
from heron.chat.terminal import Terminal
from heron.engine.generation import Timings
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, RequestError
from heron.text.chat import ChatTemplate


@pytest.fixture(scope="module")
def conversation() -> Any:
    made = Conversation(heron.load(pocket.path(), threads=1), "pocket")
    yield made
    made.close()


@pytest.fixture
def fresh(conversation: Conversation) -> Conversation:
    conversation.replace([], None)
    return conversation


def said(conversation: Conversation, question: str, **sampling: Any) -> str:
    turn = conversation.ask(question, SamplingParams(temperature=0, **sampling))
    while not turn.over:
        turn.wait(1.0)
    conversation.keep(turn)
    return turn.said(reasoning=False)


def test_what_a_command_is() -> None:
    assert commands.command_of("/set temperature 0.5") == ("set", "temperature 0.5")
    assert commands.command_of("/HELP ") == ("help", "")
    assert commands.command_of("/system You are\nterse.") == ("system", "You are\nterse.")
    for text in ("/usr/bin/env is what?", "what is /help", "/", "1/2", " /tmp", '"""/tmp"""'):
        assert commands.command_of(text) is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sytem", "/system"), ("regenrate", "/regenerate"), ("hlep", "/help"), ("zzzz", "/help"), ("sta", "/stats"), ("ex", "/bye|/edit")],
)
def test_unknown_commands_name_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RequestError, match=hint):
        commands.run(None, name, "")  # type: ignore[arg-type]


def test_turns_are_remembered_and_taken_back(fresh: Conversation) -> None:
    first = said(fresh, "What can you do?", max_tokens=8)
    assert fresh.used == len(fresh.model.encode([{"role": "user", "content": "What can you do?"}])) + 8
    used = fresh.used
    said(fresh, "How do I quantize?", max_tokens=8)
    assert fresh.turns == 2 and fresh.used > used
    assert fresh.undo() == "How do I quantize?" and fresh.turns == 1
    assert [message["content"] for message in fresh.messages] == ["What can you do?", first]
    said(fresh, "And?", max_tokens=4)
    assert fresh.drop(1) == 1 and fresh.messages[0]["content"] == "And?"
    assert fresh.drop(9) == 1 and fresh.messages == [] and fresh.used == 0 and fresh.undo() is None


def test_a_later_turn_reads_only_what_is_new(fresh: Conversation) -> None:
    question = "What can you do? " * 30
    said(fresh, question, max_tokens=30)
    turn = fresh.ask("And then?", SamplingParams(temperature=0, max_tokens=2))
    while not turn.over:
        turn.wait(1.0)
    # Up to a block: the answer may be other tokens than it was, as the pocket model says the head of a reply in one that is never read.
    read_before = len(fresh.model.encode([{"role": "user", "content": question}]))
    assert read_before > 150 and turn.timings.cached_tokens > read_before - 32


def test_what_does_not_fit_is_refused_and_changes_nothing(fresh: Conversation) -> None:
    said(fresh, "Hello", max_tokens=2)
    before = list(fresh.messages)
    with pytest.raises(HeronError, match="context holds"):
        fresh.ask("word " * 5000, SamplingParams())
    assert fresh.messages == before


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(fresh: Conversation) -> None:
    turn = fresh.ask("What can you do?", SamplingParams(temperature=0))
    while not turn.said(reasoning=False):
        turn.wait(1.0)
    turn.stop()
    while not turn.over:
        turn.wait(1.0)
    fresh.keep(turn)
    assert turn.interrupted or not turn.cut
    assert fresh.messages[-1]["content"] == turn.said(reasoning=False) != ""


def test_the_meter() -> None:
    assert [meter.level(used, 100) for used in (0, 74, 75, 89, 90, 100)] == ["low", "low", "high", "high", "full", "full"]
    assert [meter.bar(used, 100).count("█") for used in (0, 1, 50, 99, 100, 120)] == [0, 1, 5, 10, 10, 10]
    for columns in range(20, 120):
        shown = meter.toolbar("a-model-with-a-long-name-Q4_K_M", 1234, 40960, 31.5, columns)
        assert sum(map(len, shown)) + 7 <= columns and "1,234" in shown[1]
    assert (
        meter.stats(Timings(100, 64, 0.1, 0.5, 20, 2.0), 21)
        == "21 tokens · 10.0 tokens/s · first after 0.50 s · 100 read, 64 of them from the cache"
    )


def test_several_lines_stand_between_quotes() -> None:
    assert [commands.is_open(text) for text in ('"""', '"""a\nb', '"""a\nb"""', 'a """', '""')] == [True, True, False, False, False]
    assert commands.unquoted('"""\na\n  b\n"""') == "a\n  b" and commands.unquoted("  a ") == "a"


def test_completions() -> None:
    completer = entry.CommandCompleter(lambda: ["org/model:Q4_K_M", "pocket"])

    def complete(text: str) -> list[str]:
        return [found.text for found in completer.get_completions(Document(text), CompleteEvent())]

    assert complete("/s") == ["system", "set", "save", "stats"]
    assert complete("/model org") == ["org/model:Q4_K_M"]
    assert complete("/set temp") == ["temperature"] and complete("/stats o") == ["on", "off"]
    assert complete("what is /s") == complete("/nothing x") == []


def test_a_context_that_is_full_is_said_and_what_helps(capsys: pytest.CaptureFixture[str]) -> None:
    small = Conversation(heron.load(pocket.path(), threads=1, ctx_size=48), "pocket")
    terminal = Terminal(small, SamplingParams(temperature=0), Looks(stats=True), _no_opener, list)
    assert terminal.answer("What can you do?", terminal.params)
    told = capsys.readouterr().out
    assert "the context is full: 48 of 48 tokens, 100 %, in 1 turn; /drop forgets" in " ".join(told.split()) and "tokens/s" in told
    before = list(small.messages)
    assert not terminal.answer("And then?", terminal.params)
    assert "error: the prompt has" in capsys.readouterr().out and small.messages == before
    commands.run(terminal, "drop", "")
    assert small.messages == [] and terminal.answer("And?", terminal.params)
    small.close()


THINKS = "{{ messages[-1].content }}|{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>{% endif %}"


def test_thinking_is_switched(fresh: Conversation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(fresh, SamplingParams(temperature=0, max_tokens=2), Looks(), _no_opener, list)
    with pytest.raises(RequestError, match="no switch"):
        commands.run(terminal, "set", "thinking off")
    monkeypatch.setitem(fresh.model.__dict__, "template", ChatTemplate(THINKS))
    for wish, reasons in (("", True), ("thinking off", False), ("thinking", False), ("thinking auto", True)):
        commands.run(terminal, "set", wish)
        capsys.readouterr()
        assert terminal.answer("Hi", terminal.params) is not reasons
        assert ("│" in capsys.readouterr().out) is reasons
    commands.run(terminal, "set", "thinking off")
    assert "thinking is off" in capsys.readouterr().out
    monkeypatch.setitem(fresh.model.__dict__, "template", ChatTemplate("{{ messages[-1].content }}"))  # as of another model
    assert terminal.answer("Hi", terminal.params)
    fresh.thinking = ""


def test_without_an_answer_there_is_no_turn(
    fresh: Conversation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cut while the model was thinking: there are templates that refuse an empty answer, and all that comes after it."""
    monkeypatch.setitem(fresh.model.__dict__, "template", ChatTemplate(THINKS))
    terminal = Terminal(fresh, SamplingParams(temperature=0, max_tokens=2), Looks(), _no_opener, list)
    monkeypatch.setattr(fresh, "messages", before := [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    terminal._line("A question")
    assert fresh.messages == before and terminal.draft == "A question"
    assert "cut after 2 tokens" in capsys.readouterr().out


def test_a_template_that_refuses_a_system_message(
    fresh: Conversation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ messages[-1].content }}"
    monkeypatch.setitem(fresh.model.__dict__, "template", ChatTemplate(refuses))
    terminal = Terminal(fresh, SamplingParams(temperature=0, max_tokens=2), Looks(), _no_opener, list)
    commands.run(terminal, "system", "Be brief.")
    terminal._line("A question")
    said = " ".join(capsys.readouterr().out.split())
    assert "System role not supported" in said and "/system clear takes it away" in said and terminal.draft == "A question"


class Slow:
    """A turn whose model has not begun when Ctrl-C is pressed, twice."""

    over, interrupted, tokens, timings = False, True, 0, Timings()

    def said(self, reasoning: bool) -> str:
        return ""

    def wait(self, seconds: float) -> list[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return []

    def stop(self) -> None:
        pass


def test_ctrl_c_before_a_word_gives_the_question_back(
    fresh: Conversation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(fresh, SamplingParams(), Looks(), _no_opener, list)
    monkeypatch.setattr(fresh, "ask", lambda text, params: Slow())
    before = signal.getsignal(signal.SIGINT)
    terminal._line("A question")
    assert terminal.draft == "A question" and fresh.messages == [] and "stopped" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_a_text_may_begin_with_a_slash(fresh: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(fresh, SamplingParams(temperature=0, max_tokens=2), Looks(), _no_opener, list)
    for text in (" /tmp", '"""/tmp"""'):
        terminal._line(text)
        assert fresh.messages[-2]["content"] == "/tmp"
    terminal._line("/tmp")
    assert fresh.turns == 2 and "a space before it makes it a question" in " ".join(capsys.readouterr().out.split())


def test_settings_are_set_and_shown(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(conversation, SamplingParams(), Looks(), _no_opener, list)
    taken = [("temperature 0.5", 0.5), ("top-k 7", 7), ("max_tokens none", None), ("seed 3", 3)]
    for line, value in (*taken, (r"stop a\nb", ("a\nb",)), ("stop none", ())):
        commands.run(terminal, "set", line)
        assert getattr(terminal.params, line.split()[0].replace("-", "_")) == value
    before = terminal.params
    for line in ("temperature warm", "temperature -1", "temperatur 1", "mirostat 9"):
        with pytest.raises(RequestError, match=line.split()[0]):
            commands.run(terminal, "set", line)
    assert terminal.params == before
    capsys.readouterr()
    commands.run(terminal, "set", "")
    assert "temperature        0.5" in (shown := capsys.readouterr().out) and "max_tokens         none" in shown


def _no_opener(name: str, say: object) -> Any:
    raise HeronError(f"there is no {name}")


def test_a_model_that_cannot_be_loaded_leaves_the_one_before(conversation: Conversation) -> None:
    terminal = Terminal(conversation, SamplingParams(), Looks(), _no_opener, list)
    model = conversation.model
    with pytest.raises(HeronError, match="nowhere"):
        commands.run(terminal, "model", "nowhere")
    assert conversation.model is model and said(conversation, "Hello", max_tokens=1) is not None
