import numpy as np
import pytest

from evaluation.errors import InputError
from evaluation.labelled import Examples, Labelled


def examples(*counts, sides=1):
    labels = np.repeat(np.arange(len(counts)), counts)
    return Examples(tuple((f"text {i}",) * sides for i in range(len(labels))), labels)


def test_every_example_needs_a_label():
    with pytest.raises(InputError, match="2 examples, but 1 labels"):
        Examples((("a",), ("b",)), np.array([0]))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": examples(12, 0)}, "t train: examples of each class: 12 of 'no', 0 of 'yes'; each needs 12 or more"),
        ({"train": examples(40, 11), "test": examples(1, 1)}, "40 of 'no', 11 of 'yes'; each needs 12 or more"),
        (
            {"train": examples(0, 9), "dev": examples(1, 1), "test": examples(1, 1)},
            "0 of 'no', 9 of 'yes'; each needs 1 or more",
        ),
        ({"test": examples(12, 12)}, "t: the splits are test; allowed are train; train, test; train, dev, test"),
        ({}, "the splits are none"),
        ({"train": examples(12, 12), "test": examples(1, 1, sides=2)}, r"t: examples of \[1, 2\] texts"),
        ({"train": examples(12, 12, sides=3)}, r"examples of \[3\] texts; allowed is one each, or two each"),
    ],
)
def test_what_cannot_be_probed_is_refused(splits, message):
    with pytest.raises(InputError, match=message):
        Labelled("t", ("no", "yes"), splits)


def test_all_that_is_wrong_is_told_in_one_error():
    with pytest.raises(InputError, match=r"t dev has no example\nt test has no example\nt train: examples of each"):
        Labelled("t", ("no", "yes"), {"train": examples(1), "dev": examples(), "test": examples()})
