"""What the models of requests' bodies have in common: names, numbers, and what becomes of parameters that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AliasChoices, AliasGenerator, BaseModel, BeforeValidator, ConfigDict, PrivateAttr, Strict, model_validator
from pydantic_core import PydanticCustomError

#: A parameter's name here -> the other names that clients know it by.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "temperature": ("temp",),
    "typical_p": ("typ_p",),
    "top_n_sigma": ("top_nsigma",),
    "repeat_penalty": ("repetition_penalty",),
    "repeat_last_n": ("repetition_penalty_range", "repetition_context_size"),
    "mirostat": ("mirostat_mode",),
    "max_tokens": ("max_completion_tokens", "n_predict"),
    "n": ("n_cmpl",),
    "draft_tokens": ("speculative.n_max",),
    "regex": ("guided_regex",),
    "grammar": ("guided_grammar",),
    "json_schema": ("guided_json",),
}


def _names(name: str) -> AliasChoices:
    return AliasChoices(name, *OTHER_NAMES.get(name, ()))


def _number(value: Any) -> Any:
    """JSON's numbers alone: what only looks like one, in a text, is refused."""
    if isinstance(value, (bool, str)):
        raise PydanticCustomError("number", "give a number")
    return value


def example(body: dict[str, Any]) -> ConfigDict:
    """A model's configuration: what the OpenAPI page offers to try."""
    return ConfigDict(json_schema_extra={"examples": [body]})


Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Flag = Annotated[bool, Strict()]


class Body(BaseModel):
    """A JSON object. Parameters that it does not know are accepted, and named in ``unknown``; null is the same as nothing."""

    model_config = ConfigDict(
        extra="allow", allow_inf_nan=False, alias_generator=AliasGenerator(validation_alias=_names), protected_namespaces=()
    )
    _given: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        if not isinstance(data, dict):
            raise PydanticCustomError("object", "give a JSON object")
        names = {name: spelled for name in cls.model_fields for spelled in (name, *OTHER_NAMES.get(name, ())) if spelled in data}
        made = handler({key: value for key, value in data.items() if value is not None})
        made._given = names
        return made

    def spelled(self, name: str) -> str:
        """A parameter's name as the client wrote it."""
        return self._given.get(name, name)

    @property
    def unknown(self) -> list[str]:
        """Names that no parameter has."""
        return sorted(self.model_extra or ())
