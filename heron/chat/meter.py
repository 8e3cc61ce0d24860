"""How full the context is, and how fast the last answer came."""

from __future__ import annotations

from heron.engine.generation import Timings

#: From these shares on the meter warns, and the conversation says what can be done.
HIGH, FULL = 0.75, 0.9

_BAR = 10


def speed(timings: Timings) -> float:
    """Tokens a second, 0 where nothing can be said."""
    return timings.decoded_tokens / timings.decode_seconds if timings.decode_seconds > 0 else 0.0


def level(used: int, room: int) -> str:
    """A name for the meter's colour: low, high or full."""
    share = used / room
    return "full" if share >= FULL else "high" if share >= HIGH else "low"


def bar(used: int, room: int) -> str:
    filled = min(_BAR, -(-_BAR * used // room))
    return "█" * filled + "░" * (_BAR - filled)


def toolbar(name: str, used: int, room: int, tokens_a_second: float, columns: int) -> tuple[str, str, str]:
    """What stands left of the meter, the meter, and what stands right of it; as much as there is room for."""
    count, fast = f"{used:,} of {room:,} tokens", f"{tokens_a_second:.1f} tokens/s" if tokens_a_second else ""
    for left, middle, right in (
        (name, f"{bar(used, room)} {count}", f"{fast}   /help" if fast else "/help"),
        (name, f"{bar(used, room)} {count}", fast),
        (name, f"{bar(used, room)} {count}", ""),
        (name, count, ""),
        (name, f"{used:,}/{room:,}", ""),
    ):
        if len(left) + len(middle) + len(right) + 8 <= columns:
            return left, middle, right
    return name[: max(0, columns - len(middle) - 8)], middle, ""


def stats(timings: Timings, generated: int) -> str:
    """A line about one answer."""
    parts = [f"{generated} tokens"]
    if rate := speed(timings):
        parts.append(f"{rate:.1f} tokens/s")
    parts.append(f"first after {timings.first_token_seconds:.2f} s")
    parts.append(f"{timings.prompt_tokens} read" + (f", {timings.cached_tokens} of them from the cache" if timings.cached_tokens else ""))
    return " · ".join(parts)
