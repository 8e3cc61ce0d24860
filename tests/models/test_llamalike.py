"""What GGUF files of these families say that HF folders do not, and the reverse: defaults, periods, names that are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import parity
import pytest
from tiny_llamalike import LLAMALIKE

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.hf_config import common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import Model, Node
from heron.models.registry import build_model


def rewritten(folder: Path, **changes: Any) -> Model:
    """The folder's model from a GGUF file with some keys changed, or left out where the value is None."""
    checkpoint = Checkpoint(folder)
    arch = checkpoint.architecture
    metadata = dict(checkpoint.metadata) | {f"{arch}.{key.replace('__', '.')}": value for key, value in changes.items()}
    write_gguf(folder / "changed.gguf", {key: value for key, value in metadata.items() if value is not None}, checkpoint.tensors)
    return build_model(Checkpoint(folder / "changed.gguf"))


def nodes(model: Model, *ops: str) -> list[Node]:
    return [node for node in model.entries["forward"].nodes if node.op in ops]


def windows(model: Model) -> list[int]:
    return [node.attrs.get("window", 0) for node in nodes(model, "attention", "rope_attention")]


def test_phi3_files_do_not_name_longrope(tmp_path: Path) -> None:
    made, tokens = parity.tiny(LLAMALIKE["phi3-long"](), tmp_path), parity.prompt(67, 40)
    logits = parity.whole(parity.Runner(rewritten(tmp_path, rope__scaling__type=None)), tokens)
    assert parity.difference(logits, made.expected(tokens)) <= parity.TOLERANCE


def test_longrope_chooses_by_the_context_of_the_model(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["phi3-long"](), tmp_path)
    factors = {name: Checkpoint(tmp_path).tensors[f"rope_factors_{name}.weight"].numpy() for name in ("long", "short")}
    for context, name in ((33, "long"), (16, "short")):
        turned = nodes(rewritten(tmp_path, context_length=context), "rope_attention")[0].weights[0]
        assert turned is not None
        plain = [100.0 ** (-2 * i / 12) for i in range(6)]
        assert turned.tensor.numpy() == pytest.approx(plain / factors[name])


def test_granite_turns_rope_off_as_its_files_say(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["granite"](), tmp_path)
    assert len(nodes(rewritten(tmp_path), "rope_attention")) == 2
    assert len(nodes(rewritten(tmp_path, rope__scaling__finetuned=False), "attention")) == 2


def test_a_multiplier_of_0_is_none(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["granite"](), tmp_path)
    model = rewritten(tmp_path, logit_scale=0.0, embedding_scale=0.0, residual_scale=0.0)
    assert not nodes(model, "scale")


def test_gemma2_caps_and_scales_where_files_do_not_say(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["gemma2"](), tmp_path)
    model = rewritten(tmp_path, attn_logit_softcapping=None, final_logit_softcapping=None, attention__scale=None)
    assert {(node.attrs["softcap"], node.attrs["scale"]) for node in nodes(model, "rope_attention")} == {(50.0, 20**-0.5)}
    assert nodes(model, "scale")[-1].attrs["factor"] == 30.0


@pytest.mark.parametrize(
    ("pattern", "expected"), [(2, [9, 0, 9, 0, 9]), (None, [9, 9, 9, 0, 9]), (0, [9] * 5), ([True, False] * 2 + [False], [9, 0, 9, 0, 0])]
)
def test_windows_by_period_by_layer_or_by_custom(tmp_path: Path, pattern: Any, expected: list[int]) -> None:
    parity.tiny(LLAMALIKE["exaone4"](), tmp_path)
    assert windows(rewritten(tmp_path, attention__sliding_window_pattern=pattern)) == expected


def test_layers_without_rope_are_stated_only_where_they_are_not_every_fourth(tmp_path: Path) -> None:
    for name, pattern in (("smollm3", None), ("smollm3-pattern", [True, False])):
        parity.tiny(LLAMALIKE[name](), tmp_path / name)
        assert Checkpoint(tmp_path / name).metadata.get("smollm3.rope.pattern") == pattern


def test_a_pattern_of_letters() -> None:
    """EXAONE 4's published configuration."""
    config = {"sliding_window": 9, "sliding_window_pattern": "LLG", "num_hidden_layers": 4}
    assert common_metadata(Metadata(config))["attention.sliding_window_pattern"] == [True, True, False, True]


@pytest.mark.parametrize("name", ["gemma", "gemma2"])
def test_a_gemma_that_attends_to_both_sides_is_refused(tmp_path: Path, name: str) -> None:
    config = LLAMALIKE[name]()
    config.use_bidirectional_attention = True
    parity.tiny(config, tmp_path)
    with pytest.raises(UnsupportedError, match="use_bidirectional_attention"):
        Checkpoint(tmp_path)


def test_glm4_with_vision_is_refused(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["glm4"](), tmp_path)
    with pytest.raises(UnsupportedError, match="sections"):
        rewritten(tmp_path, rope__dimension_sections=[2, 1, 1, 0])


def test_rope_of_more_than_a_head_is_refused(tmp_path: Path) -> None:
    parity.tiny(LLAMALIKE["ernie4_5"](), tmp_path)
    with pytest.raises(CheckpointError, match="rope turns 22 elements of a head of 20"):
        rewritten(tmp_path, rope__dimension_count=22)
