"""The bridge to Optuna, with a real study and a real record; the workers' rows are written by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import cloudpickle
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.search import Searcher

from sweep.files import write_json, write_whole
from sweep.record import Record
from sweep.searcher import Bridge, make_bridge
from sweep.spec.space import trial_count
from sweep.trial import Job, run_trial
from sweep.trial_record import FLOOR, Row, RowLog
from tests.unit.sweep.specs import ABOUT, RUNGS, load, row

SPEC = """\
name: s
train: {optim: {batch_size: 16}, budget: {sentences: 256}}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-2, log: true}
  encoder.pooling: {choices: [cls, avg_last_hidden]}
sampler: {name: tpe, startup_trials: 3}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 4
"""
GRID = """\
name: g
train: {optim: {batch_size: 16}, budget: {sentences: 256}}
search:
  optim.batch_size: {choices: [8, 16, 32]}
  encoder.pooling: {choices: [cls, avg_last2]}
sampler: {name: grid}
objective: {task: demo, split: dev}
"""
WEIGHTS = """\
name: w
train: {teacher: {name: ./teacher}, optim: {batch_size: 16}, budget: {sentences: 256}}
search:
  loss.contrastive_weight: {choices: [0, 1]}
  loss.distillation_weight: {choices: [0, 1]}
sampler: {name: random, seed: 3}
objective: {task: demo, split: dev}
trials: 8
"""


class Sweep:
    """A driver without Ray: asks the bridge, writes what a worker would, and tells the scheduler and the bridge."""

    def __init__(
        self, root: Path, text: str = SPEC, *overrides: str, name: str = "s", warm_start: Sequence[dict] = ()
    ) -> None:
        root.mkdir(exist_ok=True)
        self.spec = load(root, text, *overrides)
        about = ABOUT | {"trials": trial_count(self.spec)}
        self.record = Record.create(root / "sweeps", name, self.spec.to_yaml(), about, warm_start=warm_start)
        self.start()

    def start(self) -> None:
        self.bridge, self.scheduler, self.closing = make_bridge(self.spec, self.record)
        self.ids = itertools.count()

    @property
    def study(self) -> optuna.Study:
        log = JournalStorage(JournalFileBackend(str(self.record.folder / "study.log")))
        return optuna.load_study(storage=log, study_name=self.record.name)

    def run_one(self, *rows: Row, error: bool = False, written: str | None = None, stopped: bool = False) -> int | None:
        """One trial from proposal to end; its number, or None after the last."""
        trial_id = f"ray{next(self.ids)}"
        proposed = self.bridge.suggest(trial_id)
        if proposed == Searcher.FINISHED:
            return None
        assert isinstance(proposed, dict)
        number: int = proposed["number"]
        folder = self.record.trial_folder(number)
        for each in rows:
            RowLog(folder).append(each)
        if written is not None:
            write_whole(folder / "error.txt", written)
        if stopped:
            self.scheduler.stopped.add(number)
        self.bridge.on_trial_complete(trial_id, error=error)
        return number

    def told(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.trials[number]

    def ended(self, number: int) -> tuple[str, str | None]:
        trial = self.record.trials()[number]
        return trial.state, trial.reason


def infeasible(trial: optuna.trial.FrozenTrial) -> bool:
    return any(value > 0 for value in trial.constraints.values())


def test_a_trial_at_the_top_rung_is_complete_with_its_last_score(tmp_path):
    sweep = Sweep(tmp_path)
    number = sweep.run_one(row(0, 30.0), row(1, 50.0), row(2, 40.0))
    told = sweep.told(number)
    assert (told.state.name, told.value) == ("COMPLETE", 40.0)
    assert told.intermediate_values == {0: 30.0, 1: 50.0, 2: 40.0}
    assert sweep.ended(number) == ("completed", None)


def test_a_trial_that_was_stopped_is_pruned_with_its_scores_under_the_rungs_indices(tmp_path):
    sweep = Sweep(tmp_path)
    number = sweep.run_one(row(0, 30.0), row(1, 20.5), stopped=True)
    told = sweep.told(number)
    assert told.state.name == "PRUNED"
    assert told.intermediate_values == {0: 30.0, 1: 20.5}
    assert not infeasible(told)
    assert sweep.ended(number) == ("stopped", None)


def test_an_error_before_the_first_row_is_a_failure_with_its_reason(tmp_path):
    sweep = Sweep(tmp_path)
    number = sweep.run_one(written="Traceback …\nOSError: no space left\n")
    assert sweep.told(number).state.name == "FAIL"
    state, reason = sweep.ended(number)
    assert state == "errored"
    assert reason is not None
    assert reason.endswith("OSError: no space left")


def test_an_error_after_some_rows_is_a_failure_too(tmp_path):
    sweep = Sweep(tmp_path)
    number = sweep.run_one(row(0), row(1), written="boom")
    assert sweep.told(number).state.name == "FAIL"
    assert sweep.ended(number) == ("errored", "boom")


@pytest.mark.parametrize("rows", [(), (row(0),)])
def test_a_trial_whose_worker_died_is_proposed_again_before_any_other_three_times(tmp_path, rows):
    sweep = Sweep(tmp_path)
    assert sweep.run_one(*rows, error=True) == 0
    assert [sweep.run_one(error=True) for _ in range(2)] == [0, 0]
    assert sweep.ended(0) == ("running", None)
    assert sweep.told(0).state.name == "RUNNING"
    assert sweep.run_one(error=True) == 0
    state, reason = sweep.ended(0)
    assert state == "errored"
    assert reason is not None
    assert "died 4 times" in reason
    assert sweep.told(0).state.name == "FAIL"
    assert sweep.run_one(row(0), row(1), row(2)) == 1


def test_a_trial_that_gets_on_between_its_workers_deaths_is_never_given_up(tmp_path):
    """On machines that are taken away again and again."""
    sweep = Sweep(tmp_path)
    for life in range(12):
        assert sweep.run_one(error=True) == 0
        (sweep.record.trial_folder(0) / "checkpoint").mkdir(exist_ok=True)
        write_json(sweep.record.trial_folder(0) / "checkpoint" / "manifest.json", {"life": life})
    assert sweep.ended(0) == ("running", None)
    assert [sweep.run_one(error=True) for _ in range(4)] == [0] * 4
    assert sweep.ended(0)[0] == "errored"


def test_to_have_run_for_longer_is_not_to_have_got_on(tmp_path):
    """A fault of the accelerator ends the process after its time is noted, and comes again at the same step."""
    sweep = Sweep(tmp_path)
    for life in range(4):
        assert sweep.run_one(error=True) == 0
        write_json(sweep.record.trial_folder(0) / "busy.json", {"seconds": 60.0 * (life + 1)})
    assert sweep.ended(0)[0] == "errored"


def test_a_worker_that_dies_between_the_reason_of_its_failure_and_the_row_is_continued(tmp_path):
    """It was out of memory, say, and killed for it before it could write the row."""
    sweep = Sweep(tmp_path)
    assert sweep.run_one(row(0), error=True, written="no memory for 7 GB") == 0
    assert sweep.ended(0) == ("running", None)
    assert sweep.run_one(row(1, FLOOR, failure="infeasible")) == 0
    assert sweep.ended(0) == ("infeasible", "no memory for 7 GB")


def test_five_faults_in_a_row_close_the_sweep_before_they_use_up_its_trials(tmp_path):
    sweep = Sweep(tmp_path, SPEC, "trials=20")
    for _ in range(4):
        sweep.run_one(written="OSError: no space left")
    sweep.run_one(row(0, FLOOR, failure="diverged"), written="the loss is inf")
    for number in range(5, 10):
        assert sweep.closing.why is None
        assert sweep.run_one(written="OSError: no space left") == number
    assert sweep.closing.why == "5 trials in a row failed, the last by OSError: no space left"
    assert sweep.run_one() is None
    assert len(sweep.record.trials()) == 10


def test_no_more_is_proposed_than_there_is_room_for_and_a_cluster_may_grow(tmp_path):
    """What is proposed before there is room for it is proposed without the results that come in the meantime."""
    sweep, room = Sweep(tmp_path), [2]
    sweep.bridge, *_ = make_bridge(sweep.spec, sweep.record, room=lambda proposed: len(proposed) < room[0])
    assert [sweep.bridge.suggest(name)["number"] for name in "ab"] == [0, 1]
    assert sweep.bridge.suggest("c") is None
    assert len(sweep.record.trials()) == 2
    room[0] = 3
    assert sweep.bridge.suggest("d")["number"] == 2
    room[0] = 0
    for number, name in enumerate("abd"):
        assert sweep.bridge.suggest("e") is None
        RowLog(sweep.record.trial_folder(number)).append(row(2))
        sweep.bridge.on_trial_complete(name)
    assert sweep.bridge.suggest("f")["number"] == 3, "with no room at all one waits, for which a cluster grows"


def test_a_trial_that_was_stopped_is_stopped_even_if_its_worker_dies_then(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.run_one(row(0), error=True, stopped=True)
    assert sweep.ended(0) == ("stopped", None)


def test_the_last_trial_is_proposed_again_too_when_its_worker_dies(tmp_path):
    """After FINISHED Tune asks no more (ray/tune/search/search_generator.py), so it is not said while one runs."""
    sweep = Sweep(tmp_path, SPEC, "trials=2")
    first, second = sweep.bridge.suggest("a"), sweep.bridge.suggest("b")
    assert sweep.bridge.suggest("c") is None
    RowLog(sweep.record.trial_folder(0)).append(row(2))
    sweep.bridge.on_trial_complete("a")
    assert sweep.bridge.suggest("d") is None
    sweep.bridge.on_trial_complete("b", error=True)
    again = sweep.bridge.suggest("e")
    assert again == second | {"attempt": 2}
    assert again["number"] != first["number"]
    RowLog(sweep.record.trial_folder(1)).append(row(2))
    sweep.bridge.on_trial_complete("e")
    assert sweep.bridge.suggest("f") == Searcher.FINISHED
    assert [trial.state for trial in sweep.record.trials()] == ["completed", "completed"]


@pytest.mark.parametrize("failure", ["diverged", "collapsed", "infeasible"])
@pytest.mark.parametrize("before", [(), (row(0, 30.0),)])
def test_a_trial_without_a_score_is_pruned_and_breaks_the_constraint(tmp_path, failure, before):
    sweep = Sweep(tmp_path)
    last = row(len(before), FLOOR, failure=failure, loss=None)
    number = sweep.run_one(*before, last, written="because of this\n")
    told = sweep.told(number)
    assert told.state.name == "PRUNED"
    assert infeasible(told)
    assert all(math.isfinite(value) for value in told.intermediate_values.values())
    assert sweep.ended(number) == (failure, "because of this")


def test_a_failure_at_the_top_rung_is_no_completion(tmp_path):
    sweep = Sweep(tmp_path)
    number = sweep.run_one(row(0), row(1), row(2, FLOOR, failure="collapsed"), written="all the same")
    assert sweep.told(number).state.name == "PRUNED"
    assert sweep.ended(number)[0] == "collapsed"


def test_the_studys_best_trial_is_the_best_of_the_completed(tmp_path):
    sweep = Sweep(tmp_path, SPEC, "trials=6")
    sweep.run_one(row(0, 99.0), stopped=True)
    sweep.run_one(row(0), row(1), row(2, FLOOR, failure="diverged"), written="nan")
    completed = sweep.run_one(row(0), row(1), row(2, 10.0))
    best = sweep.run_one(row(0), row(1), row(2, 20.0))
    sweep.run_one(row(0), row(1), written="boom")
    assert completed is not None
    assert sweep.study.best_trial.number == best


def test_no_trial_stays_open_in_the_study(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.run_one(row(0), row(1), row(2))
    sweep.run_one(row(0), stopped=True)
    sweep.run_one(row(0, FLOOR, failure="diverged"))
    sweep.run_one(written="boom")
    assert all(trial.state.is_finished() for trial in sweep.study.trials)


def test_it_proposes_exactly_as_many_trials_as_asked_and_then_says_finished(tmp_path):
    sweep = Sweep(tmp_path)
    proposed = [sweep.bridge.suggest(f"ray{number}") for number in range(4)]
    assert [each["number"] for each in proposed] == [0, 1, 2, 3]
    for number in range(4):
        RowLog(sweep.record.trial_folder(number)).append(row(2))
        assert sweep.bridge.suggest(f"early{number}") is None
        sweep.bridge.on_trial_complete(f"ray{number}")
    assert [sweep.bridge.suggest(f"more{number}") for number in range(2)] == [Searcher.FINISHED] * 2
    assert len(sweep.study.trials) == len(sweep.record.trials()) == 4


def test_a_proposal_is_the_whole_flat_configuration_and_is_on_disk_when_it_is_made(tmp_path):
    sweep = Sweep(tmp_path)
    proposed = sweep.bridge.suggest("ray0")
    (trial,) = sweep.record.trials()
    assert proposed == {"number": 0, "knobs": trial.config, "attempt": 1}
    assert (trial.folder / "attempt").read_text() == "1"
    assert trial.state == "running"
    assert set(trial.point) == {"optim.learning_rate", "encoder.pooling"}
    assert trial.point.items() <= trial.config.items()
    assert trial.config["optim.batch_size"] == 16


def test_trials_that_end_in_another_order_are_told_apart(tmp_path):
    sweep = Sweep(tmp_path)
    for name in ("a", "b", "c"):
        sweep.bridge.suggest(name)
    for number, score in ((0, 10.0), (1, 20.0), (2, 30.0)):
        RowLog(sweep.record.trial_folder(number)).append(row(2, score))
    for name in ("c", "a", "b"):
        sweep.bridge.on_trial_complete(name)
    assert [trial.value for trial in sweep.study.trials] == [10.0, 20.0, 30.0]


def test_a_driver_killed_before_it_ended_a_point_that_breaks_a_rule_ends_it_the_same(tmp_path):
    sweep = Sweep(tmp_path, WEIGHTS)
    while sweep.bridge.suggest("ray") not in (None, Searcher.FINISHED):
        pass
    broken = next(trial.number for trial in sweep.record.trials() if trial.state == "infeasible")
    (sweep.record.trial_folder(broken) / "end.json").unlink()
    sweep.record = Record(sweep.record.folder)
    sweep.start()
    again = [sweep.bridge.suggest(f"again{number}") for number in range(8)]
    assert broken not in {proposed["number"] for proposed in again if proposed}
    assert sweep.ended(broken)[0] == "infeasible"


def test_an_end_that_could_not_be_written_is_told_again(tmp_path, monkeypatch):
    """Tune takes what `on_trial_complete` raises for the trial's fault and tells it the end once more, as an error."""
    sweep = Sweep(tmp_path)
    sweep.bridge.suggest("ray")
    RowLog(sweep.record.trial_folder(0)).append(row(2, 55.0))
    with monkeypatch.context() as broken:
        broken.setattr("sweep.study.Study.tell", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        for error in (False, True):
            with pytest.raises(OSError, match="no space left"):
                sweep.bridge.on_trial_complete("ray", error=error)
    sweep.bridge.on_trial_complete("ray", error=True)
    assert sweep.ended(0) == ("completed", None)
    assert sweep.told(0).value == 55.0


def test_two_sweeps_share_nothing(tmp_path):
    one, other = Sweep(tmp_path, name="one"), Sweep(tmp_path, name="other")
    one.run_one(row(0), row(1), row(2, 77.0))
    assert (len(one.study.trials), len(other.study.trials)) == (1, 0)
    assert one.study.study_name != other.study.study_name
    assert other.run_one(row(0), stopped=True) == 0
    assert [trial.state.name for trial in one.study.trials] == ["COMPLETE"]


def points(sweep: Sweep) -> list[dict]:
    """What is proposed when the scores are those of a fixed rule."""
    while (proposed := sweep.bridge.suggest("ray")) != Searcher.FINISHED:
        folder = sweep.record.trial_folder(proposed["number"])
        RowLog(folder).append(row(2, -abs(math.log10(proposed["knobs"]["optim.learning_rate"]) + 3)))
        sweep.bridge.on_trial_complete("ray")
    return [trial.point for trial in sweep.record.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_proposes_the_same_and_another_seed_something_else(tmp_path, sampler):
    short = ("trials=3", "sampler.startup_trials=2", f"sampler.name={sampler}")
    runs = [
        points(Sweep(tmp_path / name, SPEC, *short, f"sampler.seed={seed}"))
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len({point["optim.learning_rate"] for point in runs[0]}) == 3


def test_a_grid_proposes_every_point_once_in_the_order_of_the_file(tmp_path):
    sweep = Sweep(tmp_path, GRID)
    numbers = []
    while (number := sweep.run_one(row(2))) is not None:
        numbers.append(number)
    found = [tuple(trial.point.values()) for trial in sweep.record.trials()]
    assert found == list(itertools.product([8, 16, 32], ["cls", "avg_last2"]))
    assert numbers == list(range(6))


def test_a_point_that_breaks_a_rule_over_several_knobs_is_infeasible_and_the_next_is_asked(tmp_path):
    sweep = Sweep(tmp_path, WEIGHTS)
    proposed = []
    while (number := sweep.run_one(row(2))) is not None:
        proposed.append(number)
    trials = sweep.record.trials()
    broken = [trial.number for trial in trials if not any(trial.point.values())]
    assert len(trials) == 8
    assert broken, "the seed draws none; take another"
    assert sorted(proposed + broken) == list(range(8))
    for trial in trials:
        assert (trial.state == "infeasible") == (trial.number in broken)
        told = sweep.told(trial.number)
        assert told.state.name == ("PRUNED" if trial.number in broken else "COMPLETE")
        assert infeasible(told) == (trial.number in broken)
    first = trials[broken[0]]
    assert first.reason is not None
    assert "both 0" in first.reason
    assert first.config["loss.contrastive_weight"] == 0


def test_tunes_snapshot_can_pickle_it(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.bridge.suggest("ray0")
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(sweep.bridge)), Bridge)
    sweep.bridge.save(str(tmp_path / "snapshot"))
    RowLog(sweep.record.trial_folder(0)).append(row(2))
    sweep.bridge.on_trial_complete("ray0")
    assert sweep.ended(0)[0] == "completed"


def test_a_worker_killed_for_memory_is_not_run_again_but_one_that_died_otherwise_is(tmp_path):
    sweep = Sweep(tmp_path)
    said = {0: "Failure # 1\nTask was killed due to the node running low on memory.\n", 1: "Failure # 1\nSIGKILL\n"}
    job = Job(rungs=RUNGS, task="demo", split="dev", metric="spearman", data_dir=None, threads=1)
    for number, error in said.items():
        proposed = sweep.bridge.suggest(f"ray{number}")
        (tmp_path / "error").write_text(error)  # where Tune's `Trial.handle_error` has it before any sync
        trial = type(
            "T", (), {"trial_id": "ray", "config": proposed, "error_file": str(tmp_path / "error"), "status": "ERROR"}
        )()
        sweep.scheduler.on_trial_add(None, trial)
        sweep.scheduler.on_trial_error(None, trial)
        folder = sweep.record.trial_folder(number)
        reported: list[dict] = []
        run_trial(job, folder, proposed["knobs"] | {"encoder.name": str(tmp_path / "gone")}, reported.append)
        sweep.bridge.on_trial_complete(f"ray{number}")
    assert sweep.ended(0)[0] == "infeasible"
    assert "low on memory" in str(sweep.ended(0)[1])
    assert infeasible(sweep.told(0))
    assert sweep.ended(1)[0] == "errored", "it was run again, and its encoder is not there"
