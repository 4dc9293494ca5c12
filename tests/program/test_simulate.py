"""The README's simulation runs on what ships."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

from sweep.simulation.recorded import STUDENT

README = Path(__file__).parents[2] / "README.md"


def test_the_simulation_of_the_readme_finds_scores_that_were_recorded(stsweep):
    line = next(
        line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("$ stsweep simulate")
    )
    simulated = stsweep(*shlex.split(line)[2:], "--json")
    assert simulated.returncode == 0, simulated.stderr
    seeds = json.loads(simulated.stdout)["seeds"]
    with STUDENT.open(encoding="utf-8", newline="") as file:
        top = {float(row["score"]) for row in csv.DictReader(file) if row["sentences"] == "6400"}
    assert len(seeds) == 8
    for each in seeds:
        assert sum(each["trials"].values()) == 40
        assert each["best_score"] in top
        assert each["sentences"] < 40 * 6_400
