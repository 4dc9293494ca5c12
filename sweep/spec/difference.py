"""What decides the trials of a sweep, and what two specs differ in there, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sweep.spec.fields import show

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_UNDECIDING = (
    *("name", "description", "trials", "stop", "resources"),
    *("keep_best", "checkpoint_seconds", "data_dir", "tracking_uri"),
)


_ORDER = "order of search"


def deciding(spec: SweepSpec) -> dict[str, Any]:
    """The part of a spec that decides which trials are proposed, how they train and when they stop, as plain data.

    The order of the searched knobs is a part of it: they are drawn, and a grid's points are run, in that order.
    """
    said = spec.model_dump(mode="json", exclude=set(_UNDECIDING))
    return said | {_ORDER: [list(grid) for grid in spec.grids]}


def differences(old: SweepSpec, new: SweepSpec) -> list[str]:
    """What decides the trials and differs, a line a key: `search.loss.temperature.high was 0.2 and is 0.3`.

    Empty exactly when the two specs have one hash.
    """
    before, after = deciding(old), deciding(new)
    told = list(_differ(before | {_ORDER: None}, after | {_ORDER: None}, ""))
    if not told and before[_ORDER] != after[_ORDER]:  # else a knob that came or went is told already
        told.append(f"the order of the knobs in search was {before[_ORDER]} and is {after[_ORDER]}")
    return told


def _differ(old: Any, new: Any, key: str) -> Iterator[str]:
    if _same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict) and not ({"choices"} & (old.keys() ^ new.keys())):
        prefix = f"{key}." if key else ""
        for name in dict.fromkeys([*old, *new]):
            if name not in new:
                yield f"{prefix}{name} is gone; it was {_told(old[name])}"
            elif name not in old:
                yield f"{prefix}{name} is new: {_told(new[name])}"
            else:
                yield from _differ(old[name], new[name], f"{prefix}{name}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) == len(new) and all(isinstance(item, dict) for item in [*old, *new]):
            for place, pair in enumerate(zip(old, new, strict=True)):
                yield from _differ(*pair, f"{key}[{place}]")
        else:
            yield _lists(old, new, key)
    else:
        yield f"{key} was {_told(old)} and is {_told(new)}"


def _lists(old: list[Any], new: list[Any], key: str) -> str:
    lost, gained = (
        [item for item in one if not any(_same(item, each) for each in other)]
        for one, other in ((old, new), (new, old))
    )
    said = [f"{verb} {', '.join(map(_told, items))}" for verb, items in (("lost", lost), ("gained", gained)) if items]
    return f"{key} {' and '.join(said) or 'has another order, or an item more than once'}"


def _same(old: Any, new: Any) -> bool:
    """Whether two parts hash alike: 1 and 1.0 do not, two orders of the keys of a mapping do."""
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _told(value: Any) -> str:
    """A value on one line, as in YAML; what a distribution leaves at its default is not told."""
    if isinstance(value, dict):
        given = {name: each for name, each in value.items() if each is not None and each is not False}
        return "{" + ", ".join(f"{name}: {_told(each)}" for name, each in given.items()) + "}"
    return f"[{', '.join(map(_told, value))}]" if isinstance(value, list) else show(value)
