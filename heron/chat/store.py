"""Conversations in files: JSON, which comes back, and Markdown, which is for reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heron.chat.conversation import Conversation
from heron.engine.model import Message
from heron.errors import RequestError

#: What a file says that it is; ``version`` changes with what older Herons cannot read.
FORMAT, VERSION = "heron conversation", 1

#: Endings of files that are written for reading.
MARKDOWN = (".md", ".markdown")

_ROLES = ("user", "assistant")


def save(conversation: Conversation, path: Path) -> None:
    """Raises OSError where the file cannot be written."""
    text = _markdown(conversation) if path.suffix.lower() in MARKDOWN else _json(conversation)
    path.write_text(text, encoding="utf-8")


def load(path: Path) -> tuple[list[Message], str | None]:
    """The messages of a file, and the system message. Raises RequestError, saying what is wrong with it, and OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no conversation: it is not JSON ({error})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RequestError(f"{path} is no conversation that /save has written")
    if found.get("version") != VERSION:
        raise RequestError(
            f"{path} is of version {found.get('version')!r:.20}, and this Heron reads version {VERSION}; use the Heron that wrote it"
        )
    messages, system = found.get("messages"), found.get("system")
    if not isinstance(messages, list) or not (system is None or isinstance(system, str)):
        raise RequestError(f"{path} is damaged: messages is a list, and system a text or null")
    return [_message(path, at, message) for at, message in enumerate(messages)], system


def _message(path: Path, at: int, message: Any) -> Message:
    fits = isinstance(message, dict) and message.get("role") in _ROLES and isinstance(message.get("content"), str)
    if not fits or not isinstance(message.get("reasoning_content", ""), str):
        raise RequestError(f"{path} is damaged: messages.{at} has a role, {' or '.join(_ROLES)}, and a content, which is a text")
    return {key: message[key] for key in ("role", "content", "reasoning_content") if key in message}


def _json(conversation: Conversation) -> str:
    said = {"format": FORMAT, "version": VERSION, "model": conversation.name}
    return json.dumps({**said, "system": conversation.system, "messages": conversation.messages}, ensure_ascii=False, indent=2) + "\n"


def _markdown(conversation: Conversation) -> str:
    parts = [f"# A conversation with {conversation.name}"]
    if conversation.system:
        parts.append(f"*System:* {conversation.system}")
    for message in conversation.messages:
        parts.append("## " + ("You" if message["role"] == "user" else conversation.name))
        if thought := message.get("reasoning_content"):
            parts.append(f"<details><summary>Reasoning</summary>\n\n{thought}\n\n</details>")
        parts.append(message["content"].strip())
    return "\n\n".join(parts) + "\n"
