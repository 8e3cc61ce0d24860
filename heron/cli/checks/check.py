"""One line of `heron doctor`: what was found, and what to do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Seconds that what runs in a process of its own may take.
PATIENCE = 120.0


#: What to do about what should not be.
REPORT = "if no other line explains it, please report it"


@dataclass
class Check:
    """``says`` is for people, sentence by sentence; ``facts`` the same for programs. What is wrong also says what to do."""

    name: str
    says: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """``problem``: something does not work; ``warning``: it works worse than it could, or is likely to surprise."""
        return "problem" if self.problems else "warning" if self.warnings else "ok"


#: What looks at one thing, and adds to its check.
Probe = Callable[[Check], None]


def checked(name: str, probe: Probe) -> Check:
    """What the probe finds. One that fails says so, after what it found until then."""
    check = Check(name)
    try:
        probe(check)
    except Exception as error:
        check.problems.append(f"this could not be looked at: {type(error).__name__}: {error}; {REPORT}")
    return check


class Died(Exception):
    """What was run apart did not come to its end; the message says how."""


def apart(module: str, function: str, *arguments: Any) -> Any:
    """What a function gives, as JSON has it, from a process of its own: what crashes or hangs there does so alone. Raises Died."""
    called = f"import_module({module!r}).{function}(*{arguments!r})"
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom importlib import import_module\nimport json\n"
    code += f"print(json.dumps({called}, default=vars))"
    try:
        done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Died(f"it was not done after {PATIENCE:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise Died(f"it was ended by signal {-done.returncode}" if done.returncode < 0 else said[-1])
    return json.loads(done.stdout.splitlines()[-1])
