"""Conversations to text, by the template that a model was trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from jinja2 import Template, meta

from heron.errors import RequestError, TemplateError
from heron.text.budget import Limits, begin
from heron.text.guard import plain, strings
from heron.text.sandbox import Refused, Sandbox
from heron.text.templates import builtin_template
from heron.text.tokenizer import Tokenizer

_MAX_SOURCE = 1 << 16
_REASONING = ("reasoning_content", "thinking", "reasoning")

Message = Mapping[str, Any]


class ChatTemplate:
    """A compiled chat template. Threads may share it."""

    def __init__(self, source: str, named_tokens: Mapping[str, str] | None = None, limits: Limits | None = None) -> None:
        """`source` is Jinja as transformers understands it; `named_tokens` are variables like bos_token.

        Raises TemplateError when it cannot be compiled.
        """
        if len(source) > _MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters, and at most {_MAX_SOURCE} are compiled")
        self.source = source
        self._named = dict(named_tokens or {})
        self._limits = limits or Limits()
        begin(self._limits)
        self._template: Template = _failing_clearly(lambda: Sandbox().from_string(source), "cannot be compiled")

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names that it reads and does not define: what `render` may be given."""
        begin(self._limits)
        return _failing_clearly(lambda: frozenset(meta.find_undeclared_variables(Sandbox().parse(self.source))), "cannot be read")

    @staticmethod
    def from_tokenizer(tokenizer: Tokenizer, name: str | None = None) -> ChatTemplate:
        """The tokenizer's own template (the one called `name`, if it has several), or the built-in one that its vocabulary fits.

        Raises TemplateError when there is neither.
        """
        if name is not None and name not in tokenizer.chat_templates:
            raise TemplateError(
                f"there is no chat template {name!r}; the model has {', '.join(tokenizer.chat_templates) or 'no named ones'}"
            )
        source = tokenizer.chat_template if name is None else tokenizer.chat_templates[name]
        if source is None:
            source = builtin_template(tokenizer)
        if source is None:
            raise TemplateError(
                "the model has no chat template, and its vocabulary fits none that is built in; give a template, or a plain prompt"
            )
        return ChatTemplate(source, tokenizer.named_tokens)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The conversation as text. `variables` (documents, enable_thinking ...) are the template's own.

        Raises TemplateError when the template refuses the conversation, fails, or exceeds its limits, and RequestError for
        messages that are not a list of objects.
        """
        if isinstance(messages, (str, bytes, Mapping)) or not all(isinstance(message, Mapping) for message in messages):
            raise RequestError("messages must be a list of objects with a role and a content")
        values = {
            **self._named,
            "documents": None,
            **plain(variables),
            "messages": [_with_reasoning(plain(dict(message))) for message in messages],
            "tools": plain(tools),
            "add_generation_prompt": add_generation_prompt,
        }
        begin(self._limits)
        return _failing_clearly(lambda: self._template.render(values), "failed")


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    **variables: Any,
) -> list[int]:
    """Ids of a conversation. Special tokens are those that the template writes; what looks like one in a message, a tool or a
    document is text. The ids that the model wants in front are there once, whether or not the template writes them.

    Raises what `ChatTemplate.render` and `Tokenizer.encode` raise.
    """
    guarded = tokenizer.special_guard
    guard = guarded.needed(strings([plain(list(messages)), plain(tools), plain(variables)]))
    if guard:

        def protect(text: str) -> str:
            return guarded.protect(text, guard)

        messages = [{key: item if key == "role" else plain(item, protect) for key, item in message.items()} for message in messages]
        tools, variables = plain(tools, protect), plain(variables, protect)
    text = template.render(messages, tools, add_generation_prompt, **variables)
    ids = tokenizer.encode(text, add_special=False, parse_special=True, guard=guard)
    return ids if ids[: len(tokenizer.prefix)] == tokenizer.prefix else [*tokenizer.prefix, *ids]


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its reasoning under the names that templates read it by."""
    reasoning = next((message[key] for key in _REASONING if message.get(key) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _failing_clearly(run: Callable[[], Any], what: str) -> Any:
    """Whatever a template raises, as a TemplateError."""
    try:
        return run()
    except TemplateError:
        raise
    except Refused as refusal:
        raise TemplateError(f"the chat template refused the conversation: {refusal}") from None
    except RecursionError:
        raise TemplateError(f"the chat template {what}: it is nested too deeply") from None
    except Exception as error:  # a template can raise anything that Python can
        raise TemplateError(f"the chat template {what}: {type(error).__name__}: {str(error)[:500]}") from None
