"""Tokens that end a model's turn, known by their text: files seldom name more than one of them."""

from __future__ import annotations

from collections.abc import Collection

# Nothing but a control token looks like these, whatever type a file gives it.
TURN_ENDS = (
    *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>"),
    *("<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>"),
    *("<｜end▁of▁sentence｜>", "[e~["),
)
# These may as well be markup in a text, and count only where the file calls them control tokens.
_PLAIN_ENDS = ("</s>", "<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|tool_response>")


def end_tokens(control: Collection[str], others: Collection[str]) -> set[str]:
    """Those texts of a vocabulary that end a turn; `control` are its control tokens, `others` all other tokens."""
    found = {text for text in TURN_ENDS if text in control or text in others}
    found |= {text for text in _PLAIN_ENDS if text in control}
    # Where a harmony-like format ends turns with return, call or flush, <|end|> only ends one message of several.
    if {"<|return|>", "<|call|>"} <= found or ({"<|call|>", "<|calls|>"} & found and "<|flush|>" in found):
        found.discard("<|end|>")
    # Gemma 4 has </s> as markup.
    if "<|tool_response>" in found:
        found.discard("</s>")
    return found
