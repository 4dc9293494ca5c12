"""Our `model`, `evaluation` and `search_spaces` are the ones beside `sweep`, whatever lies in the user's folder.

The names are common: SimCSE's own checkout has an `evaluation.py` at its root, and Ray puts the driver's folder first
on every worker's path, so that a user's `model.py` would be imported there in place of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parent.parent
"""The folder that holds the four packages."""
SIBLINGS = ("model", "evaluation", "search_spaces")


class _SiblingFinder(MetaPathFinder):
    """Finds the three packages beside `sweep` before `sys.path` is asked; everything else is left to it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in SIBLINGS:
            return None
        folder = HOME / fullname
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])


def claim_siblings() -> None:
    """Make `import model` (and the other two) mean ours in this process, now and later.

    Raises:
        ImportError: another module of that name was imported before `sweep`; the message names its file.
    """
    for name in SIBLINGS:
        loaded = sys.modules.get(name)
        origin = getattr(loaded, "__file__", None)
        if loaded is not None and (origin is None or Path(origin).resolve().parent != HOME / name):
            raise ImportError(
                f"`{name}` is already imported from {origin or 'a namespace package'}, and stsweep needs its own from "
                f"{HOME / name}. Import `sweep` first, or rename that module."
            )
    if not any(isinstance(finder, _SiblingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SiblingFinder())
