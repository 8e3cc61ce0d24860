"""What a server is told when it starts. Nothing here changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from heron.engine.sampling import SamplingParams


@dataclass(frozen=True)
class Limits:
    """What one client may ask for, and for how long it may be slow. Sizes in bytes, times in seconds."""

    body_bytes: int = 16 << 20
    json_depth: int = 128  # nested objects and arrays of a body
    prompt_tokens: int = 0  # of one prompt; 0: what the context holds
    prompts: int = 2048  # in one request: inputs to embed, texts to complete
    choices: int = 128  # n
    stop_strings: int = 32
    words: int = 1024  # that may not come, or that end a repetition
    schema_bytes: int = 1 << 20  # of a JSON schema, a grammar or a regular expression
    top_logprobs: int = 100
    queue: int = 512  # requests that wait for a place; more are refused with 429
    header_bytes: int = 64 << 10
    header_seconds: float = 30.0  # until the headers are there, from the connection's beginning on
    body_seconds: float = 60.0  # until the body is there
    stall_seconds: float = 60.0  # during which a client takes nothing of what waits for it


@dataclass(frozen=True)
class Settings:
    """Times in seconds. ``api_keys`` empty: whoever can connect may ask. ``cors`` names origins, ``*`` all of them."""

    host: str = "127.0.0.1"
    port: int = 11435
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors: tuple[str, ...] = ()
    request_timeout: float = 120.0  # from a request's arrival to the end of its answer
    drain_timeout: float = 30.0  # that running requests have after SIGTERM
    ping_interval: float = 15.0  # between comments in a stream that has nothing else to say
    page: bool = True  # whether the chat page is at /
    limits: Limits = Limits()
    sampling: SamplingParams = field(default_factory=SamplingParams)  # what holds where a request does not say
