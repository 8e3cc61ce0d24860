"""Which format each tensor of a quantized file gets: what the names of GGUF's file types (Q4_K_M, IQ3_XS, ...) mean.

A file type has a base format; tensors that suffer more from rounding get a better one, by rules that are llama.cpp's, kept here as
data, so that a file has the size that its name promises. Of the rules of a role the first that fits holds. Tests hold them to
what llama.cpp itself gives models of many shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from heron.errors import RequestError
from heron.quant.formats import FORMATS

#: File type -> its number (``general.file_type``) and its base format.
FILE_TYPES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "F32": (0, "F32"),
        "F16": (1, "F16"),
        "BF16": (32, "BF16"),
        "Q4_0": (2, "Q4_0"),
        "Q4_1": (3, "Q4_1"),
        "Q5_0": (8, "Q5_0"),
        "Q5_1": (9, "Q5_1"),
        "Q8_0": (7, "Q8_0"),
        "Q2_K": (10, "Q2_K"),
        "Q2_K_S": (21, "Q2_K"),
        "Q3_K_S": (11, "Q3_K"),
        "Q3_K_M": (12, "Q3_K"),
        "Q3_K_L": (13, "Q3_K"),
        "Q4_K_S": (14, "Q4_K"),
        "Q4_K_M": (15, "Q4_K"),
        "Q5_K_S": (16, "Q5_K"),
        "Q5_K_M": (17, "Q5_K"),
        "Q6_K": (18, "Q6_K"),
        "IQ1_S": (24, "IQ1_S"),
        "IQ1_M": (31, "IQ1_M"),
        "IQ2_XXS": (19, "IQ2_XXS"),
        "IQ2_XS": (20, "IQ2_XS"),
        "IQ2_S": (28, "IQ2_XS"),
        "IQ2_M": (29, "IQ2_S"),
        "IQ3_XXS": (23, "IQ3_XXS"),
        "IQ3_XS": (22, "IQ3_S"),
        "IQ3_S": (26, "IQ3_S"),
        "IQ3_M": (27, "IQ3_S"),
        "IQ4_NL": (25, "IQ4_NL"),
        "IQ4_XS": (30, "IQ4_XS"),
        "TQ1_0": (36, "TQ1_0"),
        "TQ2_0": (37, "TQ2_0"),
        "MXFP4_MOE": (38, "MXFP4"),
        "NVFP4": (39, "NVFP4"),
        "Q1_0": (40, "Q1_0"),
        "Q2_0": (41, "Q2_0"),
    }
)

#: Names that users of llama.cpp give for file types.
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE", "FP16": "F16", "FP32": "F32"}

#: Formats of so few bits that rounding needs to know which columns matter.
NEED_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})

#: What stays as it is, beside vectors: small, and every output depends on it.
KEPT = re.compile(
    r"_norm\.weight$|ffn_gate_inp|^position_embd|^token_types|ssm_conv1d|shortconv\.conv|altup|laurel|per_layer_model_proj|tid2eid"
    r"|time_mix_(first|w0|w1|w2|v0|v1|v2|a0|a1|a2|g1|g2|decay_w1|decay_w2|lerp_\w+)\.weight|attn_rel_b|indexer\.(attn_)?[qk]"
)

#: Where a row is not a whole number of blocks: what is taken in the format's place, then F16.
NARROWER = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0", "Q2_0", "Q1_0", "NVFP4"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}


@dataclass(frozen=True)
class Facts:
    """What rules ask of a model: ``groups`` queries to a key, ``experts``, ``layers``; whether there is an importance matrix."""

    architecture: str
    layers: int
    groups: int
    experts: int
    importance: bool

    @property
    def falcon(self) -> bool:
        return self.architecture == "falcon"

    @property
    def large(self) -> bool:
        """Llama 2 and 3 of 70 billion parameters."""
        return self.architecture == "llama" and self.layers == 80 and self.groups > 1


@dataclass(frozen=True)
class Place:
    """A tensor's place: the ``index``-th of ``count`` of its role in a model."""

    facts: Facts
    index: int = 0
    count: int = 1

    @property
    def more(self) -> bool:
        """In the first or the last eighth, or every third between: where better formats gain the most."""
        eighth = self.count // 8
        return self.index < eighth or self.index >= 7 * self.count // 8 or (self.index - eighth) % 3 == 2


Condition = Callable[[Place], bool]


@dataclass(frozen=True)
class Rule:
    """For these file types, where the condition holds, this format."""

    types: frozenset[str]
    format: str
    when: Condition


def _rule(types: str, format: str, when: Condition = lambda place: True) -> Rule:
    return Rule(frozenset(types.split()), format, when)


def _first(part: int) -> Condition:
    """In the first ``1/part`` of the layers."""
    return lambda place: place.index < place.count // part


def _shared(place: Place) -> bool:
    """Four queries or more share a key, so that keys and values are few, and each counts."""
    return place.facts.groups >= 4


def _few_bits(place: Place) -> bool:
    return _shared(place) or place.facts.experts >= 4


def _eight(place: Place) -> bool:
    return place.facts.experts == 8


def _plain(place: Place) -> bool:
    """Not falcon, which has rules of its own."""
    return not place.facts.falcon


def _large(place: Place) -> bool:
    return place.facts.large


_TINY, _SMALL = "IQ1_S IQ1_M IQ2_XXS IQ2_XS", "IQ2_S IQ2_M"
_OTHERS = " ".join(FILE_TYPES.keys() - f"{_TINY} {_SMALL} MXFP4_MOE F32 F16 BF16".split())

#: Role (a part of the tensor's name) -> its rules.
RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "output": (
            _rule("MXFP4_MOE Q8_0", "Q8_0"),
            _rule(f"{_TINY} {_SMALL} IQ3_XXS", "Q5_K"),
        ),
        "token_embd": (
            _rule("MXFP4_MOE", "Q8_0"),
            _rule(_TINY, "Q2_K"),
            _rule(f"{_SMALL} IQ3_XXS", "IQ3_S"),
            _rule("TQ1_0 TQ2_0 Q2_0", "Q4_K"),
        ),
        "attn_v": (
            _rule(f"{_TINY} {_SMALL}", "Q4_K", _few_bits),
            _rule(_SMALL, "IQ3_S"),
            _rule(_TINY, "Q2_K"),
            _rule("MXFP4_MOE", "Q8_0"),
            _rule(_OTHERS, "Q8_0", _eight),
            _rule("Q2_K Q2_K_S Q3_K_S Q3_K_M IQ3_XXS IQ3_XS IQ3_S IQ3_M Q4_K_S", "Q5_K", _large),
            _rule("Q2_K Q2_K_S", "Q4_K", _shared),
            _rule("Q2_K", "Q3_K"),
            _rule("IQ3_XXS", "Q4_K", _shared),
            _rule("IQ3_XXS", "IQ3_S", lambda place: not place.facts.importance),
            _rule("IQ3_XS IQ3_S", "Q4_K", _shared),
            _rule("IQ3_M", "Q4_K"),
            _rule("Q3_K_M", "Q5_K", lambda place: place.index < 2),
            _rule("Q3_K_M", "Q4_K"),
            _rule("Q3_K_L", "Q5_K"),
            _rule("IQ4_NL IQ4_XS", "Q5_K", _shared),
            _rule("Q4_K_M Q5_K_M", "Q6_K", lambda place: place.more),
            _rule("Q4_K_S", "Q5_K", lambda place: place.index < 4),
            _rule("Q4_K_M", "Q5_K", _large),
        ),
        "attn_k": (
            _rule(f"{_TINY} {_SMALL}", "Q4_K", _eight),
            _rule("MXFP4_MOE", "Q8_0"),
            _rule(_OTHERS, "Q8_0", _eight),
            _rule("IQ3_XS", "IQ3_XXS"),
            _rule("IQ3_XXS", "IQ2_S"),
        ),
        "attn_q": (
            _rule("IQ3_XS", "IQ3_XXS"),
            _rule("IQ3_XXS", "IQ2_S"),
        ),
        "ffn_down": (
            _rule(_SMALL, "IQ3_S", _first(8)),
            _rule(_TINY, "Q2_K", _first(8)),
            _rule("Q2_K", "Q3_K"),
            _rule("Q2_K_S", "Q4_K", _first(8)),
            _rule("IQ3_XXS", "Q4_K", lambda place: not place.facts.importance and _first(8)(place)),
            _rule("IQ3_XXS", "Q3_K", lambda place: not place.facts.importance),
            _rule("Q3_K_M", "Q5_K", _first(16)),
            _rule("Q3_K_M", "Q4_K", lambda place: _plain(place) or place.more),
            _rule("IQ3_M", "Q4_K", lambda place: _first(8)(place) or (_eight(place) and place.more)),
            _rule("Q3_K_L", "Q5_K", _plain),
            _rule("Q3_K_L", "Q4_K"),
            _rule("Q4_K_M", "Q6_K", lambda place: place.more if _plain(place) else _first(16)(place)),
            _rule("Q4_K_M", "Q5_K", lambda place: place.facts.falcon and place.more),
            _rule("IQ4_NL IQ4_XS", "Q5_K", lambda place: not place.facts.importance and _first(8)(place)),
            _rule("Q5_K_M", "Q6_K", lambda place: place.more),
            _rule("Q4_K_S", "Q5_K", lambda place: _plain(place) and _first(8)(place)),
            _rule("Q4_0", "Q4_1", lambda place: place.facts.importance and _first(8)(place)),
            _rule("Q5_0", "Q5_1", lambda place: place.facts.importance and _first(8)(place)),
        ),
        "attn_output": (
            _rule(f"{_TINY} {_SMALL}", "Q5_K", _eight),
            _rule("IQ1_S IQ1_M", "IQ2_XXS"),
            _rule(_SMALL, "IQ3_S"),
            _rule("Q3_K_L", "Q4_K", lambda place: place.facts.falcon),
            _rule(
                "Q2_K IQ3_XS IQ3_XXS Q3_K_S Q3_K_M IQ4_NL Q4_K_S Q4_K_M IQ3_S IQ3_M IQ4_XS",
                "Q5_K",
                lambda place: _plain(place) and _eight(place),
            ),
            _rule("Q2_K", "Q3_K", lambda place: _plain(place) and not _eight(place)),
            _rule("IQ3_XXS", "IQ3_S", lambda place: _plain(place) and not _eight(place)),
            _rule("Q3_K_M IQ3_M", "Q4_K", lambda place: _plain(place) and not _eight(place)),
            _rule("Q3_K_L", "Q5_K", lambda place: _plain(place) and not _eight(place)),
        ),
        "ffn_gate": (_rule("IQ3_XS", "IQ3_XXS", lambda place: place.count // 8 <= place.index < 7 * place.count // 8),),
        "ffn_up": (_rule("IQ3_XS", "IQ3_XXS", lambda place: place.count // 8 <= place.index < 7 * place.count // 8),),
    }
)

#: Role -> what in a tensor's name shows it: the first that fits.
ROLES = (
    ("attn_v", re.compile(r"attn_(v|qkv|kv_b)\.weight$")),
    ("attn_k", re.compile(r"attn_k\.weight$")),
    ("attn_q", re.compile(r"attn_q\.weight$")),
    ("ffn_down", re.compile(r"ffn_down")),
    ("attn_output", re.compile(r"attn_output\.weight$")),
    ("ffn_gate", re.compile(r"ffn_gate")),
    ("ffn_up", re.compile(r"ffn_up")),
)


def file_type(name: str) -> str:
    """The file type of this name, in whatever case. Raises RequestError for one that there is not."""
    upper = name.upper().replace("-", "_")
    upper = ALIASES.get(upper, upper)
    if upper not in FILE_TYPES:
        raise RequestError(f"there is no file type {name!r}; there are {', '.join(FILE_TYPES)}")
    return upper


def quantizes(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is quantized at all: matrices are, but for small ones on which everything depends."""
    return len(shape) >= 2 and name.endswith("weight") and not KEPT.search(name)


def assign(
    type: str, tensors: Mapping[str, tuple[int, ...]], facts: Facts, overrides: Iterable[tuple[str, str]] = ()
) -> dict[str, tuple[str, str]]:
    """The format of each tensor that a file of this type quantizes: name -> (format, why: "" where it is the base).

    ``tensors`` are names and shapes. ``overrides`` are pairs of a pattern (searched for in names) and a format, and come first. Raises
    RequestError for a format that there is not, or an override that names no tensor.
    """
    base, wanted = FILE_TYPES[type][1], [name for name, shape in tensors.items() if quantizes(name, shape)]
    patterns = [(re.compile(pattern), _format(format)) for pattern, format in overrides]
    chosen: dict[str, tuple[str, str]] = {}
    for name, place in _places(wanted, facts, "output.weight" in tensors):
        forced = next((format for pattern, format in patterns if pattern.search(name)), None)
        format, why = (forced, "asked for") if forced else _by_rules(type, base, name, tensors, place)
        held = _narrowed(format, tensors[name][-1])
        chosen[name] = (held, why if held == format else f"a row of {tensors[name][-1]} is not whole blocks of {format}")
    for pattern, _ in patterns:
        if not any(pattern.search(name) for name in wanted):
            raise RequestError(f"no tensor that is quantized has a name with {pattern.pattern!r} in it; `heron info --tensors` lists them")
    return {name: chosen[name] for name in wanted}


def _by_rules(type: str, base: str, name: str, tensors: Mapping[str, tuple[int, ...]], place: Place) -> tuple[str, str]:
    if FORMATS[base].plain:
        return base, ""
    role = _role(name, "output.weight" in tensors)
    if type == "MXFP4_MOE" and role not in ("output", "token_embd"):
        return (base, "") if len(tensors[name]) == 3 else ("Q8_0", "not of experts")
    if role == "output":
        if place.facts.falcon or tensors[name][-1] % FORMATS[base].block:
            return "Q8_0", "the output head"
        return _first_rule(type, "output", place) or ("Q6_K", "the output head") if base != "Q8_0" else (base, "")
    return _first_rule(type, role, place) or (base, "")


def _first_rule(type: str, role: str, place: Place) -> tuple[str, str] | None:
    found = next((rule for rule in RULES.get(role, ()) if type in rule.types and rule.when(place)), None)
    return None if found is None else (found.format, {"output": "the output head", "token_embd": "the embeddings"}.get(role, role))


def _role(name: str, has_output: bool) -> str:
    if name == "output.weight" or (not has_output and name == "token_embd.weight"):
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((role for role, pattern in ROLES if pattern.search(name)), "")


def _places(names: list[str], facts: Facts, has_output: bool) -> Iterable[tuple[str, Place]]:
    """Each tensor's place among those of its role: by their layers; for feed-forward tensors of models with experts the layer itself."""
    by_role: dict[str, list[str]] = {}
    for name in sorted(names, key=_layer):
        by_role.setdefault(_role(name, has_output), []).append(name)
    for role, mine in by_role.items():
        layered = role.startswith("ffn_") and facts.experts > 1
        for index, name in enumerate(mine):
            yield name, Place(facts, _layer(name), facts.layers) if layered else Place(facts, index, len(mine))


def _layer(name: str) -> int:
    found = re.search(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _narrowed(format: str, row: int) -> str:
    """The format, or what stands in for it where rows are not whole blocks of it."""
    if row % FORMATS[format].block == 0:
        return format
    narrower = NARROWER.get(format, "F16")
    return narrower if row % FORMATS[narrower].block == 0 else "F16"


def _format(name: str) -> str:
    if name.upper() not in FORMATS:
        raise RequestError(f"there is no tensor format {name!r}; there are {', '.join(FORMATS)}")
    return name.upper()
