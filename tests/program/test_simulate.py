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


def test_noise_is_given_on_the_command_line_and_refused_there(stsweep):
    command = ("simulate", "student_search", "--seeds", "1", "--set", "trials=3")
    noisy = json.loads(stsweep(*command, "--noise", "0.3", "--json").stdout)
    exact = json.loads(stsweep(*command, "--json").stdout)
    assert (noisy["noise_sd"], exact["noise_sd"]) == (0.3, 0.0)
    assert noisy["seeds"][0]["best_score"] != exact["seeds"][0]["best_score"]
    refused = stsweep(*command, "--noise", "nan")
    assert refused.returncode == 2
    assert refused.stderr.startswith("stsweep: --noise: nan")
    assert "Next: stsweep simulate student_search --noise" in refused.stderr
