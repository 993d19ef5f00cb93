"""Sizes as people write them."""

from n2s_core.errors import ConfigError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str, *, where: str = "The size") -> int:
    """Bytes of a size such as `16M`, `64MiB` or `0`. Raises ConfigError."""
    bare = text.strip().lower().removesuffix("b").removesuffix("i")
    digits = bare.rstrip("kmg")
    unit = bare[len(digits) :]
    if not digits.isascii() or not digits.isdigit() or unit not in _UNITS:
        message = f"{where} is {text!r}; write bytes, or for example 512K, 16M, 1G."
        raise ConfigError(message)
    return int(digits) * _UNITS[unit]
