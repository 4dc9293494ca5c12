import numpy as np
import pytest

from evaluation.errors import InputError
from evaluation.pairs import Pairs


@pytest.mark.parametrize(
    ("first", "gold", "message"),
    [
        (("a", "b"), (1.0, 2.0, 3.0), r"\[2, 3, 3, 3\] entries"),
        (("a", "b", "c"), (2.5, 2.5, 2.5), "every gold is 2.5"),
        (("a", "b", "c"), (1.0, np.nan, 2.0), "pair 1 has a gold that is not finite"),
    ],
)
def test_pairs_that_cannot_be_scored_are_refused(first, gold, message):
    with pytest.raises(InputError, match=message):
        Pairs("mine", "dev", first, ("x", "y", "z"), np.array(gold), ("s",) * 3)


def test_one_pair_has_no_correlation():
    with pytest.raises(InputError, match="1 scored pairs; a correlation needs at least 2"):
        Pairs("mine", "dev", ("a",), ("b",), np.array([1.0]), ("s",))
