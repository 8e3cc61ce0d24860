"""Templates for models that bring none, and how a vocabulary shows which of them it was trained with.

Each follows what the model's makers published. Where a format has no system message, the system's text goes before the
first user's.
"""

from __future__ import annotations

from heron.text.tokenizer import Tokenizer

_CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""

_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}
"""

# Puts the system's text into `system` and the rest into `turns`.
_SPLIT_SYSTEM = """\
{%- set system = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if messages and messages[0].role == 'system' else messages -%}
"""

_GEMMA = (
    _SPLIT_SYSTEM
    + """\
{{- bos_token -}}
{%- for message in turns -%}
{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{%- if loop.first and system -%}{{ system | trim + '\\n\\n' }}{%- endif -%}
{{ message.content | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""
)

_LLAMA2 = (
    _SPLIT_SYSTEM
    + """\
{%- for message in turns -%}
{%- if message.role == 'assistant' -%}
{{ ' ' + message.content | trim + ' ' + eos_token }}
{%- else -%}
{{ bos_token + '[INST] ' }}
{%- if loop.first and system -%}{{ '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}{%- endif -%}
{{ message.content | trim + ' [/INST]' }}
{%- endif -%}
{%- endfor -%}
"""
)

_MISTRAL = (
    _SPLIT_SYSTEM
    + """\
{{- bos_token -}}
{%- for message in turns -%}
{%- if message.role == 'assistant' -%}
{{ ' ' + message.content | trim + eos_token }}
{%- else -%}
{{ '[INST] ' }}
{%- if loop.first and system -%}{{ system + '\\n\\n' }}{%- endif -%}
{{ message.content + '[/INST]' }}
{%- endif -%}
{%- endfor -%}
"""
)

_DEEPSEEK = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{ 'User: ' + message.content + '\\n\\n' }}
{%- elif message.role == 'assistant' -%}{{ 'Assistant: ' + message.content + eos_token }}
{%- else -%}{{ message.content + '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}
"""

_DEEPSEEK3 = (
    _SPLIT_SYSTEM
    + """\
{{- bos_token + system -}}
{%- for message in turns -%}
{%- if message.role == 'assistant' -%}{{ '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}
{%- else -%}{{ '<｜User｜>' + message.content }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<｜Assistant｜>' }}{%- endif -%}
"""
)

_PHI3 = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}
"""

_ZEPHYR = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}
"""

# name, template, tokens that a vocabulary trained with it has; the first that fits is taken.
BUILTIN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("chatml", _CHATML, ("<|im_start|>", "<|im_end|>")),
    ("llama3", _LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    ("gemma", _GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    ("deepseek3", _DEEPSEEK3, ("<｜User｜>", "<｜Assistant｜>")),
    ("deepseek", _DEEPSEEK, ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")),
    ("phi3", _PHI3, ("<|user|>", "<|assistant|>", "<|end|>")),
    ("zephyr", _ZEPHYR, ("<|user|>", "<|assistant|>")),
    ("mistral", _MISTRAL, ("[INST]", "[/INST]")),
    # Llama 2's own vocabulary has no token for its turns; what is left to see is SentencePiece with bytes.
    ("llama2", _LLAMA2, ("<s>", "</s>", "<0x0A>")),
)


def detect(tokenizer: Tokenizer) -> str | None:
    """The name of the built-in template that the vocabulary fits, whatever architecture the model has."""
    return next((name for name, _, tokens in BUILTIN if all(tokenizer.id(token) is not None for token in tokens)), None)


def builtin_template(tokenizer: Tokenizer) -> str | None:
    """The Jinja source of that template, or None."""
    name = detect(tokenizer)
    return next((source for known, source, _ in BUILTIN if known == name), None)
