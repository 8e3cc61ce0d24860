"""The command with a model that says what it is told to: HERON_SAYS names a file of answers (form feeds between them, the last one
again and again), HERON_PACE how many seconds each token takes.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from heron.cli import main
from heron.engine.answer import Answer
from heron.engine.generation import Piece
from heron.engine.sampled import Sampled
from heron.text.chat import ChatTemplate

SAYS = Path(os.environ["HERON_SAYS"]).read_text().split("\f")
PACE = float(os.environ.get("HERON_PACE", "0"))

begin, take, compile_template = Answer.__init__, Answer.take, ChatTemplate.__init__


def begun(answer: Any, grammars: Any, *args: Any, **kwargs: Any) -> None:
    begin(answer, grammars, *args, **kwargs)
    text = SAYS.pop(0) if len(SAYS) > 1 else SAYS[0]
    answer.script = [*grammars.tokenizer.encode(text, add_special=False, parse_special=True), grammars.tokenizer.eos]


def taken(answer: Any, sampled: Sampled) -> Piece:
    time.sleep(PACE)
    return take(answer, replace(sampled, token=answer.script[answer.generated]))


def compiled(template: Any, source: str, *args: Any, **kwargs: Any) -> None:
    compile_template(template, source + "{# <think> </think> #}", *args, **kwargs)  # a model that may reason


Answer.__init__, Answer.take, ChatTemplate.__init__ = begun, taken, compiled  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
