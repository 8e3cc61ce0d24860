"""Every name of every sampling parameter, and what it means."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from heron.engine.constrain import Constraint
from heron.engine.sampling import SamplingParams
from heron.server.body import OTHER_NAMES
from heron.server.errors import ApiError
from heron.server.parameters import Sampling, sampling_params
from heron.server.settings import Limits, Settings
from heron.text.tokenizer import Tokenizer

#: The field's names, and the parameters that they set, with a value of each. docs/api.md lists them.
NAMES: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("temperature", "temp"), ("temperature", 0.3)),
    "dynatemp_range": ("dynatemp_range", 0.2),
    "dynatemp_exponent": ("dynatemp_exponent", 1.5),
    "top_k": ("top_k", 7),
    "top_p": ("top_p", 0.5),
    "min_p": ("min_p", 0.2),
    **dict.fromkeys(("typical_p", "typ_p"), ("typical_p", 0.6)),
    **dict.fromkeys(("top_n_sigma", "top_nsigma"), ("top_n_sigma", 1.5)),
    "xtc_probability": ("xtc_probability", 0.4),
    "xtc_threshold": ("xtc_threshold", 0.2),
    **dict.fromkeys(("mirostat", "mirostat_mode"), ("mirostat", 2)),
    "mirostat_tau": ("mirostat_tau", 4.0),
    "mirostat_eta": ("mirostat_eta", 0.2),
    **dict.fromkeys(("repeat_penalty", "repetition_penalty"), ("repeat_penalty", 1.2)),
    **dict.fromkeys(("repeat_last_n", "repetition_penalty_range", "repetition_context_size"), ("repeat_last_n", 9)),
    "presence_penalty": ("presence_penalty", 0.7),
    "frequency_penalty": ("frequency_penalty", -0.3),
    "dry_multiplier": ("dry_multiplier", 0.8),
    "dry_base": ("dry_base", 2.0),
    "dry_allowed_length": ("dry_allowed_length", 3),
    "dry_penalty_last_n": ("dry_penalty_last_n", 30),
    "dry_sequence_breakers": ("dry_sequence_breakers", ["\n", "x"]),
    "seed": ("seed", 5),
    "stop_token_ids": ("stop_token_ids", [3, 4]),
    "bad_words": ("bad_words", ["no", [5, 6]]),
    "allowed_token_ids": ("allowed_token_ids", [7, 8]),
    "min_tokens": ("min_tokens", 2),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n_predict"), ("max_tokens", 6)),
    "ignore_eos": ("ignore_eos", True),
    "samplers": ("samplers", ["top_k", "temperature"]),
}


@pytest.fixture(scope="module")
def tokenizer(shared: Path) -> Tokenizer:
    return Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf")


def read(tokenizer: Tokenizer, limits: Limits | None = None, **body: Any) -> SamplingParams:
    made = Sampling.model_validate(body)
    assert made.unknown == []
    return sampling_params(made, Settings(limits=limits or Limits()), tokenizer)


@pytest.mark.parametrize("name", NAMES)
def test_a_name(tokenizer: Tokenizer, name: str) -> None:
    field, value = NAMES[name]
    given = [tuple(item) if isinstance(item, list) else item for item in value] if isinstance(value, list) else value
    assert read(tokenizer, **{name: value}) == SamplingParams(**{field: given})


def test_there_is_a_name_for_everything(tokenizer: Tokenizer) -> None:
    own = {field.name for field in fields(SamplingParams)} - {"top_logprobs", "constraint", "stop", "logit_bias"}  # asked for in other ways
    assert own == {field for field, _ in NAMES.values()}
    others = {name for names in OTHER_NAMES.values() for name in names}
    assert others <= NAMES.keys() | {"n_cmpl", "speculative.n_max", "guided_regex", "guided_grammar", "guided_json"}
    assert read(tokenizer) == SamplingParams()
    assert read(tokenizer, **dict.fromkeys(NAMES)) == SamplingParams()  # null is the same as nothing


def test_the_servers_settings_hold_where_a_request_does_not_say(tokenizer: Tokenizer) -> None:
    settings = Settings(sampling=SamplingParams(temperature=0.3, top_p=0.4, max_tokens=50))

    def understood(**body: Any) -> SamplingParams:
        return sampling_params(Sampling.model_validate(body), settings, tokenizer)

    assert understood() == understood(temperature=None, max_tokens=None) == settings.sampling
    assert understood(temp=0, top_p=1, n_predict=7) == SamplingParams(temperature=0, top_p=1, max_tokens=7)
    assert understood(n_predict=-1).max_tokens is None
    assert understood(min_tokens=20).max_tokens == 50 and understood(min_tokens=60).max_tokens is None


def test_what_clients_write_in_several_ways(tokenizer: Tokenizer) -> None:
    assert read(tokenizer, stop="a").stop == read(tokenizer, stop=["a"]).stop == ("a",)
    assert read(tokenizer, top_k=-1).top_k == 0
    assert read(tokenizer, n_predict=-1).max_tokens is None
    assert read(tokenizer, seed=-1).seed is None
    assert read(tokenizer, seed=-2).seed == 2**64 - 2
    assert read(tokenizer, samplers="kt").samplers == ("top_k", "temperature")
    assert read(tokenizer, temperature=1).temperature == 1.0 and read(tokenizer, top_k=40.0).top_k == 40
    bias = ((5, 1.5), (9, -math.inf))
    assert read(tokenizer, logit_bias={"5": 1.5, "9": -math.inf}).logit_bias == bias
    assert read(tokenizer, logit_bias=[[9, False], ["5", 1.5]]).logit_bias == bias
    text = tokenizer.encode("Lily", add_special=False)
    assert read(tokenizer, logit_bias=[["Lily", 2]]).logit_bias == tuple(sorted((id, 2.0) for id in text))


@pytest.mark.parametrize(
    ("body", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint.json()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "null"}}}},
            Constraint.schema({"type": "null"}),
        ),
        ({"json_schema": {}}, Constraint.schema({})),
        ({"guided_json": {"type": "null"}}, Constraint.schema({"type": "null"})),
        ({"grammar": 'root ::= "a"'}, Constraint.gbnf('root ::= "a"')),
        ({"guided_grammar": 'start: "a"'}, Constraint.lark('start: "a"')),
        ({"guided_regex": "a+"}, Constraint.regex("a+")),
        ({"grammar": "", "response_format": {"type": "text"}, "regex": "a"}, Constraint.regex("a")),
    ],
)
def test_languages(tokenizer: Tokenizer, body: dict[str, Any], constraint: Constraint | None) -> None:
    assert read(tokenizer, **body).constraint == constraint


def test_limits(tokenizer: Tokenizer) -> None:
    limits = Limits(stop_strings=2, schema_bytes=10)
    assert read(tokenizer, limits, stop=["a", "b"]).stop == ("a", "b")
    for body, param in (
        ({"stop": ["a", "b", "c"]}, "stop"),
        ({"regex": "a" * 11}, "regex"),
        ({"guided_json": {"type": "null"}}, "guided_json"),
    ):
        with pytest.raises(ApiError) as refused:
            read(tokenizer, limits, **body)
        assert refused.value.param == param


def test_what_nobody_knows_is_named() -> None:
    made = Sampling.model_validate({"zeta": 1, "alpha": None, "beta": {}, "temp": 1})
    assert made.unknown == ["beta", "zeta"]
    assert made.spelled("temperature") == "temp"
