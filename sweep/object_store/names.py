"""The names of a shared folder's objects: what kind, whose, and which one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Number = tuple[int, int]
"""Of a writer, and of its manifest."""
_NAME = re.compile(r"(claim|manifest|object)-(\d{12})(?:-(\d{6}))?(?:-\d{4})?(?:\.json)?")


def claim_name(writer: int) -> str:
    return f"claim-{writer:012d}"


def object_name(number: Number, place: int) -> str:
    return f"object-{number[0]:012d}-{number[1]:06d}-{place:04d}"


def manifest_name(number: Number) -> str:
    return f"manifest-{number[0]:012d}-{number[1]:06d}.json"


def manifests_among(names: Sequence[str]) -> list[tuple[Number, str]]:
    """Those there are, the newest last."""
    return sorted((number, name) for kind, number, name in parsed(names) if kind == "manifest")


def parsed(names: Sequence[str]) -> Iterator[tuple[str, Number, str]]:
    """Kind, number and name of this module's objects; nothing else is touched."""
    for name in names:
        if match := _NAME.fullmatch(name):
            kind, writer, sequence = match.groups()
            yield kind, (int(writer), int(sequence or 0)), name
