"""What `heron run` does with a model's reasoning: dim where somebody looks on, and never in what is kept."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import heron
from heron import Constraint, pocket
from heron.cli.answering import answer
from heron.engine.answer import Answer
from heron.engine.sampling import SamplingParams
from heron.text.chat import ChatTemplate

pytestmark = pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")

SAID = "<think>\nHm.\x1b[31m\nYes.\n</think>\n\nIt is **so**.\a\n"
THOUGHT = "\x1b[2m"


class Run:
    """`heron run` of a model that says SAID, on a terminal but for what is named: the terminal's text, stdout's, stderr's."""

    def __init__(self, folder: Path) -> None:
        self.says = folder / "says"
        self.says.write_text(SAID)

    def __call__(self, *args: str, stdout: bool = True, stderr: bool = True, **env: str) -> tuple[str, str, str]:
        ours, theirs = pty.openpty()
        line = [sys.executable, str(Path(__file__).with_name("scripted.py")), "run", "-p", "hi", *args]
        roots = os.pathsep.join(str(Path(__file__).resolve().parents[up]) for up in (1, 2))
        where: dict[str, Any] = {"stdout": theirs if stdout else subprocess.PIPE, "stderr": theirs if stderr else subprocess.PIPE}
        with subprocess.Popen(
            line, stdin=subprocess.DEVNULL, **where, env=os.environ | {"HERON_SAYS": str(self.says), "PYTHONPATH": roots, **env}
        ) as process:
            os.close(theirs)
            shown = b""
            try:
                while piece := os.read(ours, 4096):
                    shown += piece
            except OSError:  # the other side is closed
                pass
            out, err = process.communicate(timeout=60)
        os.close(ours)
        assert process.returncode == 0, (shown, err)
        return shown.decode().replace("\r", ""), (out or b"").decode(), (err or b"").decode()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def plain(text: str) -> str:
    return text.replace(THOUGHT, "").replace("\x1b[0m", "")


def test_a_terminal_shows_reasoning_dim_and_obeys_nothing(run: Run) -> None:
    shown, _, _ = run()
    thought, _, answered = shown.partition("\n\n")
    assert plain(thought) == "Hm.[31m\nYes." and thought.startswith(THOUGHT)
    assert answered == "It is **so**.\n\n"


def test_what_is_kept_is_the_answer_alone_and_as_it_is(run: Run) -> None:
    shown, out, _ = run(stdout=False)
    assert out == "It is **so**.\a\n\n" and plain(shown) == "Hm.[31m\nYes.\n\n"
    assert run(stdout=False, stderr=False) == ("", "It is **so**.\a\n\n", "")
    assert run(stderr=False) == ("It is **so**.\n\n", "", "")


def test_reasoning_can_be_hidden(run: Run) -> None:
    assert run("--hide-reasoning")[0] == run(TERM="dumb")[0] == "It is **so**.\n\n"


def test_a_text_that_is_continued_is_not_split(run: Run) -> None:
    assert run("--raw", stdout=False)[1] == SAID + "\n"


def test_an_answer_that_never_came_is_explained(run: Run) -> None:
    _, out, err = run("-n", "9", stdout=False, stderr=False)
    assert out == "\n" and err == "heron: the reasoning is cut after 9 tokens; -n 256 allows more, -n -1 what the context holds\n"
    run.says.write_text("<think>\nHm.")
    _, out, err = run(stdout=False, stderr=False)
    assert out == "\n" and err == "heron: the model stopped while it was reasoning, and gave no answer\n"


def test_a_constraint_holds_the_answer_and_not_the_reasoning(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    ids, take = model.tokenizer.encode("Hm.\n</think>", add_special=False), Answer.take

    def told(answer: Answer, sampled: Any) -> Any:
        return take(answer, replace(sampled, token=ids[answer.generated]) if answer.generated < len(ids) else sampled)

    params = SamplingParams(constraint=Constraint.regex("[0-9]{3}"), seed=1)
    model.template = ChatTemplate(template + "<think>\n{# </think> #}")
    with monkeypatch.context() as patch:
        patch.setattr(Answer, "take", told)
        answer(model, "One", params, None, False, print, False)
        assert capsys.readouterr().out.strip().isdecimal()
        whole = model.generate([{"role": "user", "content": "One"}], params)
    assert whole.text.strip().startswith("Hm.\n</think>") and whole.text[-3:].isdecimal() and whole.finish_reason == "stop"
    model.template = ChatTemplate(template + "{# </think> #}")
    answer(model, "One", params, None, False, print, False)
    assert capsys.readouterr().out.strip().isdecimal()
    model.close()
