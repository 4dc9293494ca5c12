"""What `check` prints: everything that was planned, in words and as data."""

from __future__ import annotations

import dataclasses
import json

from sweep.footprint import Disk
from sweep.placement import Ask
from sweep.plan_text import plan_json, plan_text
from sweep.probe import Estimate
from sweep.probe_process import Probed
from sweep.spec.check import Plan, RungPlan

DISK = Disk(encoder=60 * 10**6, encoders=5, trial=360 * 10**6, code=10**6, peak=1_021 * 10**6, free=63 * 10**9)
PLAN = Plan(
    rungs=(RungPlan(1_600, 10), RungPlan(6_400, 2.5)),
    milestones=(),
    trials=10,
    searched=("loss.temperature", "encoder.pooling"),
    expected_sentences=28_000,
    most_sentences=64_000,
    corpus_sentences=3_768,
    pairs=435,
    layers={"student": 6, "some/model": None},
    takes={"resources": Ask(1, 2, 0.5), "resources.cases[0]": Ask(4, 2, 1)},
    at_once=2,
    most_at_once=None,
    disk=DISK,
    upload_bytes=900_000,
    limits={"wall_hours": 8, "plateau_trials": 20, "plateau_gain": 0.1},
    notes=("mind the gap",),
)
ESTIMATE = Estimate(
    largest={"encoder.name": "student", "encoder.keep_layers": None, "optim.batch_size": 64},
    measured=Probed("cuda", 4, 0.5, 8, 0.1, 1.0, 2.0, 3 * 10**9, 5 * 10**9, 80 * 10**9),
    worker_hours=3.0,
    most_worker_hours=9.0,
    hours=0.5,
    cost=4.5,
    most_cost=13.5,
    notes=("it is tight",),
)


def test_the_text_says_rungs_sentences_disk_upload_and_limits() -> None:
    said = plan_text(PLAN)
    assert "10 trials of student (6 layers), some/model; 2 at once" in said
    assert "\na trial takes 1 worker of 2 CPUs and 0.5 GPU\n" in said
    assert "\nresources.cases[0] takes 4 workers of 2 CPUs and 1 GPU\n" in said
    assert "\nsearched: loss.temperature, encoder.pooling\n" in said
    assert "1,600 (10), 6,400 (2.5)" in said
    assert "expected if scores are random; a sampler that learns lets more pass" in said
    assert "about 28,000 expected, 44% of the 64,000" in said
    assert "at most 1.0 GB" in said and "63 GB free" in said and "900 kB of code" in said
    assert "ends early when 8 hours have gone by; 20 trials in a row are no better; better means by 0.1 points" in said
    assert said.endswith("note: mind the gap")


def test_a_thousand_trials_are_no_power_of_ten() -> None:
    rungs = (RungPlan(100, 1_000), RungPlan(200, 9_999.6), RungPlan(400, 99.96), RungPlan(800, 31.25))
    said = plan_text(dataclasses.replace(PLAN, trials=1_000, rungs=rungs))
    assert "100 (1,000), 200 (10,000), 400 (100), 800 (31.2)" in said


def test_what_is_not_known_is_not_invented() -> None:
    unknown = dataclasses.replace(
        PLAN,
        rungs=(RungPlan(1_600, 10), RungPlan(6_400, None)),
        expected_sentences=None,
        at_once=None,
        disk=Disk(encoder=None, encoders=5, trial=None, code=10**6, peak=None, free=None),
        limits={},
    )
    said = plan_text(unknown)
    assert "as many as fit at once" in said
    assert "as many as fit, at most 4, at once" in plan_text(dataclasses.replace(unknown, most_at_once=4))
    assert "1,600 (10), 6,400 (?)" in said
    assert "at most 64,000 if nothing is stopped" in said
    assert "size is not known" in said and "free" not in said and "None" not in said
    assert "ends early" not in said and "if scores are random" not in said


def test_rungs_in_seconds_are_said_in_seconds() -> None:
    said = plan_text(dataclasses.replace(PLAN, milestones=(30.0, 120.0, 480.0, 1920.0)))
    assert "after 30, 120, 480, … s of training" in said and "1,600 (10)" not in said


def test_the_measured_is_said_as_an_estimate_from_the_slowest_batch_of_one_trial_alone() -> None:
    said = plan_text(PLAN, ESTIMATE)
    assert "on cuda with 4 threads" in said and "encoder.keep_layers all" in said
    assert "0.5 s a step (128 sentences/s)" in said and "5.0 GB of the GPU's" in said
    assert "in batches of 8: 0.1 s a step (80 sentences/s)" in said
    assert "one trial alone; trials at once share the memory's bandwidth" in said
    assert "as slow as the slowest measured" in said and "upper" not in said
    assert "30 min from start to end, 3.0 h of all trials together (9.0 h if" in said
    assert "cost: about 4.50 (13.50 if nothing is stopped)" in said
    assert said.endswith("note: mind the gap\nnote: it is tight")
    assert "cost" not in plan_text(PLAN, dataclasses.replace(ESTIMATE, cost=None, most_cost=None))


def test_the_data_has_every_field_of_both() -> None:
    data = json.loads(json.dumps(plan_json(PLAN, ESTIMATE)))
    assert set(data) == {field.name for field in dataclasses.fields(Plan)} | {"estimate"}
    assert set(data["estimate"]) == {field.name for field in dataclasses.fields(Estimate)}
    assert data["disk"]["peak"] == 1_021 * 10**6 and data["estimate"]["measured"]["gpu_bytes"] == 5 * 10**9
    assert plan_json(PLAN)["estimate"] is None
