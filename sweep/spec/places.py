"""Files and folders of a spec made absolute, so that a resolved spec means the same from any folder."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

from sweep.spec.fields import Findings
from sweep.spec.yaml_file import KeyPath

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DEMO = "demo"
_SQLITE = "sqlite:///"


def resolve_places(tree: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """A copy of a spec's plain data with absolute paths.

    In `data.corpus`, `$VAR` is the variable's value, which may be a comma-joined list; `demo` stays. An encoder's or
    a teacher's name is a path when it starts like one or such a folder exists; a Hub id stays.
    """
    tree = copy.deepcopy(tree)
    train, data = tree.get("train"), None
    if isinstance(train, dict):
        for section in ("encoder", "teacher"):
            if isinstance(train.get(section), dict) and "name" in train[section]:
                train[section]["name"] = _folder(train[section]["name"])
        data = train.get("data")
    if isinstance(data, dict) and isinstance(data.get("corpus"), str | list):
        data["corpus"] = _corpus(data["corpus"], findings)
    searches = tree.get("search")
    for search in searches if isinstance(searches, list) else [searches]:
        _search(search)
    points = tree.get("points")
    for point in points if isinstance(points, list) else []:
        _named(point)
    if isinstance(tree.get("data_dir"), str) and tree["data_dir"]:
        tree["data_dir"] = _absolute(tree["data_dir"])
    if isinstance(uri := tree.get("tracking_uri"), str) and uri.startswith(_SQLITE):
        tree["tracking_uri"] = _SQLITE + _absolute(uri.removeprefix(_SQLITE))
    return tree


_NAMES = ("encoder.name", "teacher.name")


def _search(search: Any) -> None:
    """Paths among the choices of one mapping of `search`, and in its conditions."""
    for knob, given in search.items() if isinstance(search, dict) else ():
        if not isinstance(given, dict):
            continue
        if knob in _NAMES and isinstance(given.get("choices"), list):
            given["choices"] = [_folder(name) for name in given["choices"]]
        _named(given.get("when"))


def _named(values: Any) -> None:
    """Paths in a mapping knob → value, or list of values."""
    for knob in _NAMES:
        if isinstance(values, dict) and knob in values:
            given = values[knob]
            values[knob] = [_folder(name) for name in given] if isinstance(given, list) else _folder(given)


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:  # ~name of nobody: said where the path is looked at, as a path that is not there
        return str(Path(path).absolute())


def _folder(name: Any) -> Any:
    if not isinstance(name, str) or not name or name.startswith("package:"):
        return name
    is_there = os.path.isdir(name)  # noqa: PTH112  Path.is_dir raises where a name is too long for a path
    return _absolute(name) if is_there or name.startswith(("/", "./", "../", "~")) else name


def _corpus(given: str | list[Any], findings: Findings) -> list[Any]:
    """The corpus files of one text or a list; items that are no text stay, for the type check to refuse."""
    found: list[Any] = []
    for place, entry in enumerate(given.split(",") if isinstance(given, str) else given):
        if not isinstance(entry, str):
            found.append(entry)
            continue
        path: KeyPath = ("train", "data", "corpus") if isinstance(given, str) else ("train", "data", "corpus", place)
        unset = [a or b for a, b in _VARIABLE.findall(entry) if not os.environ.get(a or b)]
        if unset:
            message = f"{entry}: the variable {', '.join(unset)} is not set; export it, or give --set data.corpus=FILE"
            findings.add(path, message)
        elif "," in entry:
            findings.add(path, f"{entry!r}: a comma separates files and cannot be in a name; rename the file")
        else:
            value = _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], entry)
            names = [name.strip() for name in value.split(",") if name.strip()]
            found += [name if name == _DEMO else _absolute(name) for name in names]
    return found
