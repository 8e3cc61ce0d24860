"""The language that an answer must be in, under every name that clients ask for it by."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from heron.engine.constrain import Constraint
from heron.engine.model import Model
from heron.errors import RequestError
from heron.server.body import Body
from heron.server.errors import ApiError
from heron.server.settings import Limits

_NAMES = ("response_format", "json_schema", "grammar", "regex")


class Structure(Body):
    """At most one of these is given."""

    response_format: dict[str, Any] | None = Field(
        None,
        description="text, json_object, or json_schema with a schema.",
        examples=[{"type": "json_schema", "json_schema": {"name": "point", "schema": {"type": "object"}}}],
    )
    json_schema: dict[str, Any] | bool | str | None = Field(None, description="The answer is JSON that is valid by this schema.")
    grammar: str | None = Field(None, description="The answer is in the language of this grammar, in GBNF or Lark.")
    regex: str | None = Field(None, description="The answer matches this regular expression, whole.")

    def constraint(self, limits: Limits) -> Constraint | None:
        """What is asked for, or None. Raises ApiError 400, naming the parameter."""
        found = [(self.spelled(name), made) for name in _NAMES if (made := self._made(name)) is not None]
        if len(found) > 1:
            names = " and ".join(name for name, _ in found)
            raise ApiError(400, f"{names} are given, and an answer can be held to one of them alone", param=found[1][0])
        for name, made in found:
            if (size := len(made.text.encode())) > limits.schema_bytes:
                raise ApiError(400, f"{name} has {size} bytes, and at most {limits.schema_bytes} are compiled", param=name)
        return found[0][1] if found else None

    async def compile(self, model: Model, constraint: Constraint) -> None:
        """Compile what is asked for beside the loop, so that submitting it takes no time.

        Raises ApiError 400 for what is not valid, or takes too long.
        """
        try:
            await asyncio.wrap_future(model.grammars.prepare(constraint))
        except RequestError as error:
            name = next(self.spelled(name) for name in _NAMES if self._made(name) is not None)
            raise ApiError(400, f"{name}: {error}", param=name) from None

    def _made(self, name: str) -> Constraint | None:
        value = getattr(self, name)
        if value is None or value == "":
            return None
        try:
            if name == "response_format":
                return _response_format(value)
            if name == "json_schema":
                return Constraint.schema(value)
            if name == "regex":
                return Constraint.regex(value)
            return Constraint.gbnf(value) if "::=" in value else Constraint.lark(value)
        except RequestError as error:
            raise ApiError(400, f"{self.spelled(name)}: {error}", param=error.param or self.spelled(name)) from None


def _response_format(value: dict[str, Any]) -> Constraint | None:
    """OpenAI's shape; a schema may also stand beside the type, as llama.cpp has it."""
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Constraint.schema(value["schema"]) if value.get("schema") else Constraint.json()
    if kind != "json_schema":
        raise RequestError(f"there is no type {kind!r:.40}; give text, json_object or json_schema", param="response_format.type")
    inner = value.get("json_schema", value)
    if not isinstance(inner, dict) or not isinstance(schema := inner.get("schema"), (dict, bool)):
        raise RequestError("json_schema needs a schema, which is a JSON object", param="response_format.json_schema.schema")
    return Constraint.schema(schema)
