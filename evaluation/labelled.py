"""`Labelled`: the sentences of one transfer task and the classes that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError

FOLDS = 10
"""Of a cross-validation; SimCSE's test mode."""
FEWEST_OF_A_CLASS = 12
"""Training examples of a class, where there is a cross-validation: with 12, nine tenths of them can be folded again."""
PROTOCOLS = (("train",), ("train", "test"), ("train", "dev", "test"))
"""The splits that a task may have. With `train` alone it is tested by cross-validation."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of one split, in the order of its files.

    Raises:
        InputError: not one label an example.
    """

    texts: tuple[tuple[str, ...], ...]
    """One text an example, or two where pairs are classified. A text may be empty."""
    labels: NDArray[np.intp]
    """[n], an index of `Labelled.classes` each."""

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise InputError(f"{len(self.texts)} examples, but {len(self.labels)} labels; every example needs one")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Labelled:
    """One transfer task. A `Labelled` can always be probed.

    Raises:
        InputError: other splits than `PROTOCOLS` lists, an empty one, not one text an example or two, or a class with
            too few training examples to be learnt.
    """

    task: str
    classes: tuple[str, ...]
    splits: Mapping[str, Examples]
    """In the order of `PROTOCOLS`."""
    positive: str | None = None
    """The class whose F1 is told as well."""

    def __post_init__(self) -> None:
        if tuple(self.splits) not in PROTOCOLS:
            allowed = "; ".join(", ".join(splits) for splits in PROTOCOLS)
            raise InputError(f"{self.task}: the splits are {', '.join(self.splits) or 'none'}; allowed are {allowed}")
        faults = [f"{self.task} {split} has no example" for split, examples in self.splits.items() if not len(examples)]
        sides = {len(texts) for examples in self.splits.values() for texts in examples.texts}
        if not (sides <= {1} or sides <= {2}):
            faults.append(f"{self.task}: examples of {sorted(sides)} texts; allowed is one each, or two each")
        counts = np.bincount(self.splits["train"].labels, minlength=len(self.classes)).tolist()
        fewest = 1 if "dev" in self.splits else FEWEST_OF_A_CLASS
        if min(counts) < fewest:
            found = ", ".join(f"{count} of {name!r}" for name, count in zip(self.classes, counts, strict=True))
            faults.append(f"{self.task} train: examples of each class: {found}; each needs {fewest} or more")
        if faults:
            raise InputError("\n".join(faults))
