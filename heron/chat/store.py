"""Conversations in files: JSON, which comes back, and Markdown, which is for reading."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from heron.chat.clean import whole
from heron.chat.conversation import Conversation
from heron.engine.model import Message
from heron.errors import RequestError

#: What a file says that it is; ``version`` changes with what older Herons cannot read.
FORMAT, VERSION = "heron conversation", 1

#: Endings of files that are written for reading.
MARKDOWN = (".md", ".markdown")

_ROLES = ("user", "assistant")


def save(conversation: Conversation, path: Path) -> None:
    """Raises OSError where the file cannot be written; the one before it stays then."""
    text = _markdown(conversation) if path.suffix.lower() in MARKDOWN else _json(conversation)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def load(path: Path) -> tuple[list[Message], str | None, bool]:
    """The messages of a file, the system message, and whether `save` has written it: else it holds messages as OpenAI's API takes them.

    Raises RequestError, saying what is wrong with it, and OSError.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no conversation: it is not JSON ({error})") from None
    found = {"messages": found} if isinstance(found, list) else found
    if not isinstance(found, dict) or not found.keys() & {"format", "messages"} or found.get("format", FORMAT) != FORMAT:
        raise RequestError(f"{path} is no conversation: neither one that /save has written nor a list of messages")
    if found.get("version", VERSION) != VERSION:
        raise RequestError(
            f"{path} is of version {found.get('version')!r:.20}, and this Heron reads version {VERSION}; use the Heron that wrote it"
        )
    given, system = found.get("messages"), found.get("system")
    if not isinstance(given, list) or not (system is None or isinstance(system, str)):
        raise RequestError(f"{path} is damaged: messages is a list, and system a text or null")
    messages = [_message(path, at, message) for at, message in enumerate(given)]
    if messages and messages[0]["role"] == "system":
        system = messages.pop(0)["content"]
    return messages, None if system is None else whole(system), "format" in found


def _message(path: Path, at: int, message: Any) -> Message:
    message = message if isinstance(message, dict) else {}
    role, content, thought = message.get("role"), message.get("content"), message.get("reasoning_content")
    if isinstance(content, list):  # OpenAI's parts
        parts = [each.get("text") if isinstance(each, dict) else None for each in content]
        content = "".join(map(str, parts)) if all(isinstance(each, str) for each in parts) else None
    if role == "developer":
        role = "system"
    roles = (*_ROLES, "system") if at == 0 else _ROLES
    if role not in roles or not isinstance(content, str) or not isinstance(thought, str | None):
        raise RequestError(f"{path} is damaged: messages.{at} has a role, {' or '.join(roles)}, and a content, which is a text")
    return {"role": role, "content": whole(content), **({"reasoning_content": whole(thought)} if thought else {})}


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
