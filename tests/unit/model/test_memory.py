"""Memory is this process's, now and at its peak."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from model.memory import forget_peak, peak_bytes, resident_bytes

SIZE = 64_000_000
SLACK = 8_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak cannot be reset")


@linux
def test_the_peak_keeps_what_was_freed_and_the_present_does_not() -> None:
    before = resident_bytes()
    forget_peak()
    block = np.ones(SIZE, dtype=np.uint8)
    held = resident_bytes()
    del block
    assert held - before == pytest.approx(SIZE, abs=SLACK)
    assert peak_bytes() - before == pytest.approx(SIZE, abs=SLACK)
    assert resident_bytes() - before < SLACK


@linux
def test_a_forgotten_peak_is_gone() -> None:
    block = np.ones(SIZE, dtype=np.uint8)
    del block
    forget_peak()
    assert peak_bytes() - resident_bytes() < SLACK
