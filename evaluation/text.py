"""When two texts are the same: the one rule behind duplicate pairs, clean splits, the leak audit and the bootstrap."""

from __future__ import annotations


def normalised(text: str) -> str:
    """Case folded, words joined by one space. Punctuation stays: "Stop." and "Stop!" are different texts."""
    return " ".join(text.casefold().split())


def pair_key(first: str, second: str) -> tuple[str, str]:
    """The same for two pairs of equal texts, in either order."""
    a, b = normalised(first), normalised(second)
    return (a, b) if a <= b else (b, a)
