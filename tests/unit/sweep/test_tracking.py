import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from sweep.errors import Refused
from sweep.record import Record
from sweep.say import say
from sweep.spec.rules import STORES
from sweep.tracking.facts import STATUS, param_text
from sweep.tracking.mirror import Mirror, create_store, default_uri, mirrored_uri, quiet_client
from sweep.tracking.sent import Notebook, Sent, SentTrial, read_sent
from sweep.trial_record import FLOOR, Row, RowLog
from tests.unit.sweep.specs import ABOUT

CREATED = 1_700_000_000.25


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root of sweeps with its database: making one takes seconds."""
    root = tmp_path_factory.mktemp("sweeps")
    quiet_client()
    create_store(default_uri(root))
    shutil.copy(root / "mlflow.db", root / "empty.db")
    return root


def _row(index: int, score: float = 80.0, failure: str | None = None) -> Row:
    return Row(
        rung_index=index,
        rung=1000 * (index + 1),
        step=16 * (index + 1),
        sentences=1024 * (index + 1),
        score=score,
        failure=failure,
        loss=None if failure else 0.5,
        precision="fp32",
        score_precision="fp32",
        train_seconds=3.0,
        busy_seconds=4.0,
        started=CREATED,
        time=CREATED + index,
    )


def _record(root: Path, name: str, trials: int = 0) -> Record:
    record = Record.create(root, name, f"name: {name}\n", ABOUT | {"spec_hash": "abc"})
    for number in range(trials):
        folder = record.add_trial(number, {}, {"loss.temperature": 0.05 * (number + 1), "encoder.dropout": None})
        RowLog(folder).append(_row(0, 70.0 + number))
        RowLog(folder).append(_row(1, 75.0 + number))
        record.end_trial(number, "completed")
    return record


def _mirror(record: Record, uri: str | None = None) -> list[str]:
    mirror = Mirror(record, uri or default_uri(record.folder.parent), interval_s=0.05)
    mirror.start()
    record.release()
    return mirror.finish(timeout_s=60)


def _runs(record: Record, uri: str | None = None) -> dict:
    """Run name → run, as MLflow has them; two of one name fail."""
    client = MlflowClient(uri or default_uri(record.folder.parent))
    experiment = client.get_experiment_by_name("stsweep").experiment_id
    runs = client.search_runs([experiment], f"tags.`stsweep.sweep` = '{record.name}'")
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names)
    return dict(zip(names, runs, strict=True))


def _history(record: Record, run: str, metric: str) -> list[tuple[int, int, float]]:
    client = MlflowClient(default_uri(record.folder.parent))
    points = client.get_metric_history(_runs(record)[run].info.run_id, metric)
    return [(point.step, point.timestamp, point.value) for point in points]


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_trial_is_a_run_under_the_sweeps_run(root):
    record = _record(root, "nested", trials=2)
    assert _mirror(record) == []
    runs = _runs(record)
    assert runs.keys() == {"nested", "nested/0000", "nested/0001"}
    parent = runs.pop("nested").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}


def test_knobs_are_parameters_under_their_dotted_names(root):
    record = _record(root, "knobs", trials=1)
    _mirror(record)
    assert _runs(record)["knobs/0000"].data.params == {"loss.temperature": "0.05", "encoder.dropout": "null"}


def test_a_row_is_a_point_at_its_rung_index_and_its_own_time(root):
    record = _record(root, "points", trials=1)
    _mirror(record)
    first = int(CREATED * 1000)
    assert _history(record, "points/0000", "score") == [(0, first, 70.0), (1, first + 1000, 75.0)]
    assert [value for _, _, value in _history(record, "points/0000", "sentences")] == [1024, 2048]


def test_what_a_row_weighs_the_score_against_is_a_metric_where_it_was_measured(root):
    record = _record(root, "against")
    log = RowLog(record.add_trial(0, {}, {"seed": 0}))
    log.append(_row(0))
    log.append(replace(_row(1), size_mb=88.5, latency_ms=3.25))
    _mirror(record)
    assert [(step, value) for step, _, value in _history(record, "against/0000", "size_mb")] == [(1, 88.5)]
    assert [(step, value) for step, _, value in _history(record, "against/0000", "latency_ms")] == [(1, 3.25)]


def test_mirroring_a_record_again_doubles_nothing(root):
    record = _record(root, "twice", trials=2)
    _mirror(record)
    before = {name: run.info.run_id for name, run in _runs(record).items()}
    assert _mirror(record) == []
    assert {name: run.info.run_id for name, run in _runs(record).items()} == before
    assert len(_history(record, "twice/0001", "score")) == 2


def test_what_a_killed_driver_had_sent_but_not_noted_down_is_not_doubled(root):
    record = _record(root, "killed", trials=2)
    _mirror(record)
    before = {name: run.info.run_id for name, run in _runs(record).items()}
    (record.folder / "mlflow.json").unlink()
    assert _mirror(record) == []
    assert {name: run.info.run_id for name, run in _runs(record).items()} == before
    assert len(_history(record, "killed/0001", "score")) == 2


def test_a_run_made_by_a_request_whose_answer_was_lost_is_deleted(root):
    record = _record(root, "lost", trials=2)
    _mirror(record)
    before = _runs(record)
    client = MlflowClient(default_uri(root))
    for run in (before["lost"], before["lost/0001"]):  # as the mirror would make it a second time
        client.create_run(run.info.experiment_id, run.info.start_time, run.data.tags, run.info.run_name)
    assert _mirror(record) == []
    assert {name: run.info.run_id for name, run in _runs(record).items()} == {
        name: run.info.run_id for name, run in before.items()
    }


def test_a_database_that_was_replaced_gets_everything_again(root, tmp_path):
    record = _record(tmp_path, "replaced", trials=2)
    record.write_baselines({"untrained": 61.5})
    for _ in range(2):
        shutil.copy(root / "empty.db", tmp_path / "mlflow.db")
        assert _mirror(record) == []
        runs = _runs(record)
        assert runs.keys() == {"replaced", "replaced/0000", "replaced/0001"}
        assert runs["replaced"].data.metrics == {"baseline.untrained": 61.5}
        assert runs["replaced"].info.status == "FINISHED"
        assert len(_history(record, "replaced/0001", "score")) == 2


def test_a_resumed_trial_goes_on_in_its_run(root):
    record = _record(root, "resumed")
    log = RowLog(record.add_trial(0, {}, {"seed": 0}))
    log.append(_row(0))
    _mirror(record)
    interrupted = _runs(record)
    assert {run.info.status for run in interrupted.values()} == {"KILLED"}
    record.drive("stsweep resume resumed")
    mirror = Mirror(record, default_uri(root), interval_s=0.02)
    mirror.start()
    _wait_until(lambda: read_sent(record).trials[0].state == "running")
    assert {run.info.status for run in _runs(record).values()} == {"RUNNING"}
    log.append(_row(1))
    record.end_trial(0, "completed")
    record.release()
    assert mirror.finish(timeout_s=60) == []
    runs = _runs(record)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.info.run_id for run in runs.values()} == {run.info.run_id for run in interrupted.values()}
    assert [step for step, _, _ in _history(record, "resumed/0000", "score")] == [0, 1]


def test_a_trial_that_goes_on_keeps_no_reason_of_its_interruption(root):
    record = _record(root, "reason")
    folder = record.add_trial(0, {}, {"seed": 0})
    RowLog(folder).append(_row(0))
    record.end_trial(0, "errored", "the worker process died")
    _mirror(record)
    (folder / "end.json").unlink()
    record = Record.open(root, "reason")
    record.drive("stsweep resume reason")
    record.end_trial(0, "completed")
    _mirror(record)
    tags = _runs(record)["reason/0000"].data.tags
    assert (tags["stsweep.state"], tags["stsweep.reason"]) == ("completed", "")


def test_an_extended_sweep_gets_its_new_trials_under_the_same_run(root):
    record = _record(root, "extended", trials=1)
    _mirror(record)
    before = _runs(record)
    record.drive("stsweep extend extended --trials 1")
    RowLog(record.add_trial(1, {}, {"seed": 1})).append(_row(0))
    record.end_trial(1, "completed")
    _mirror(record)
    after = _runs(record)
    assert after.keys() == before.keys() | {"extended/0001"}
    assert after["extended/0001"].data.tags["mlflow.parentRunId"] == before["extended"].info.run_id


def test_a_removed_sweep_and_its_namesake_do_not_share_runs(root):
    _mirror(_record(root, "namesake", trials=1))
    first = read_sent(Record.open(root, "namesake"))
    shutil.rmtree(root / "namesake")
    _mirror(_record(root, "namesake", trials=1))
    second = read_sent(Record.open(root, "namesake"))
    assert first.parent != second.parent
    assert first.trials[0].run != second.trials[0].run


def test_rows_arrive_while_the_sweep_runs(root):
    record = _record(root, "live")
    mirror = Mirror(record, default_uri(root), interval_s=0.05)
    mirror.start()
    log = RowLog(record.add_trial(0, {}, {"seed": 0}))
    for index in range(2):
        log.append(_row(index))
        _wait_until(lambda rows=index + 1: 0 in (trials := read_sent(record).trials) and trials[0].rows == rows)
    assert _runs(record)["live/0000"].info.status == "RUNNING"
    assert _runs(record)["live"].info.status == "RUNNING"
    record.end_trial(0, "stopped")
    record.release()
    assert mirror.finish(timeout_s=60) == []
    assert _runs(record)["live/0000"].info.status == "FINISHED"


def test_every_run_is_closed_with_the_status_of_its_state(root):
    record = _record(root, "states")
    ended = [state for state in STATUS if state not in ("running", "interrupted")]
    for number, state in enumerate(ended):
        RowLog(record.add_trial(number, {}, {"seed": 0})).append(_row(0))
        record.end_trial(number, state, f"because {state}")
    record.add_trial(len(ended), {}, {"seed": 0})
    _mirror(record)
    runs = _runs(record)
    said = {run.data.tags["stsweep.state"]: run.info.status for name, run in runs.items() if name != "states"}
    assert said == {
        "completed": "FINISHED",
        "stopped": "FINISHED",
        "infeasible": "FAILED",
        "diverged": "FAILED",
        "collapsed": "FAILED",
        "errored": "FAILED",
        "interrupted": "KILLED",
    }
    assert {run.data.tags.get("stsweep.reason") for run in runs.values()} >= {"because errored", "because diverged"}
    assert runs["states"].info.status == "KILLED"


def test_a_trial_that_failed_before_its_first_rung_has_the_floor_as_score(root):
    record = _record(root, "floor")
    record.add_trial(0, {}, {"seed": 0})
    record.end_trial(0, "errored", "boom")
    record.add_trial(1, {}, {"seed": 0})
    _mirror(record)
    runs = _runs(record)
    assert runs["floor/0000"].data.metrics == {"score": FLOOR}
    assert runs["floor/0001"].data.metrics == {}, "an interrupted trial has not failed"


def test_baselines_are_metrics_of_the_sweeps_run(root):
    record = _record(root, "baselines", trials=1)
    record.write_baselines({"untrained": 61.5, "teacher": None, "lexical": 55.25})
    _mirror(record)
    run = _runs(record)["baselines"]
    assert run.data.metrics == {"baseline.untrained": 61.5, "baseline.lexical": 55.25}
    assert run.info.status == "FINISHED"


def test_baselines_measured_again_by_a_resume_are_not_doubled(root):
    record = _record(root, "remeasured", trials=1)
    for _ in range(2):
        record.write_baselines({"untrained": 61.5})
        _mirror(record)
        (record.folder / "mlflow.json").unlink()
    assert [value for _, _, value in _history(record, "remeasured", "baseline.untrained")] == [61.5]


def test_a_value_longer_than_mlflow_takes_is_cut(root):
    record = _record(root, "long")
    record.add_trial(0, {}, {"data.corpus": "x" * 7000})
    assert _mirror(record) == []
    value = _runs(record)["long/0000"].data.params["data.corpus"]
    assert (len(value), value[-1]) == (6000, "…")
    assert param_text("y" * 6000) == "y" * 6000


def test_more_knobs_than_one_batch_takes_all_arrive(root):
    record = _record(root, "many")
    record.add_trial(0, {}, {f"knob{number}": number for number in range(250)})
    assert _mirror(record) == []
    assert len(_runs(record)["many/0000"].data.params) == 250


def test_a_run_that_someone_deleted_keeps_no_other_from_being_sent(root):
    record = _record(root, "deleted")
    logs = [RowLog(record.add_trial(number, {}, {"seed": number})) for number in range(2)]
    _mirror(record)
    MlflowClient(default_uri(root)).delete_run(read_sent(record).trials[0].run)
    for log in logs:
        log.append(_row(0))
    assert "deleted" in _mirror(record)[0]
    assert len(_history(record, "deleted/0001", "score")) == 1


def test_what_a_store_missed_is_sent_when_it_is_back(root, tmp_path):
    record = _record(tmp_path, "late", trials=1)
    blocked = tmp_path / "store"
    blocked.write_text("a file where the folder should be")
    uri = f"sqlite:///{blocked}/mlflow.db"
    assert _mirror(record, uri) != []
    blocked.unlink()
    blocked.mkdir()
    shutil.copy(root / "mlflow.db", blocked)
    assert _mirror(record, uri) == []
    assert _runs(record, uri).keys() == {"late", "late/0000"}
    assert mirrored_uri(record) == uri


def test_what_a_server_missed_goes_to_the_server_of_the_spec_though_it_never_answered(root, tmp_path):
    """Or a finished sweep would be sent to the root's own database, and the server would never get it."""
    record = _record(tmp_path, "unheard", trials=1)
    assert mirrored_uri(record) == default_uri(tmp_path)
    record.write_spec("name: unheard\ntracking_uri: http://127.0.0.1:1\n")
    assert _mirror(record, "http://127.0.0.1:1") != []
    assert mirrored_uri(record) == "http://127.0.0.1:1"


def test_a_sweep_without_a_trial_leaves_nothing_there(root):
    """It is discarded when it is closed before its first trial, and a run of its name would stay."""
    record = _record(root, "discarded")
    assert _mirror(record) == []
    assert _runs(record) == {}


def test_a_dead_server_neither_raises_nor_blocks_and_is_told_of_once(tmp_path, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        record = _record(tmp_path, "dead", trials=3)
        begin = time.monotonic()
        mirror = Mirror(record, uri, interval_s=0.05)
        mirror.start()
        assert time.monotonic() - begin < 1
        time.sleep(0.5)
        record.release()
        complaints = mirror.finish(timeout_s=20)
    assert time.monotonic() - begin < 20
    assert uri in complaints[0]
    assert str(record.folder) in complaints[1]
    assert "stsweep ui dead" in complaints[2]
    assert "Connection refused" in complaints[0]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"MLflow at {uri} gets nothing for now (")


def test_a_server_that_is_away_is_asked_ever_less_often(tmp_path):
    asked = 0
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.05)
        record = _record(tmp_path, "away", trials=1)
        mirror = Mirror(record, f"http://127.0.0.1:{door.getsockname()[1]}", interval_s=0.01)
        mirror.start()
        begin = time.monotonic()
        while time.monotonic() - begin < 0.6:
            with suppress(TimeoutError):
                door.accept()[0].close()
                asked += 1
        assert 2 <= asked <= 7, "0.01 + 0.02 + … + 0.32 s"
    record.release()
    mirror.finish(timeout_s=10)


def test_a_damaged_note_of_what_was_sent_is_refused_and_may_be_removed(root):
    record = _record(root, "damaged", trials=1)
    _mirror(record)
    (record.folder / "mlflow.json").write_text('{"uri": null, "tri')
    with pytest.raises(Refused, match=r"(?s)damaged.*rm .*mlflow\.json"):
        read_sent(record)
    (record.folder / "mlflow.json").unlink()
    assert _mirror(record) == []
    assert len(_history(record, "damaged/0000", "score")) == 2


def test_what_was_sent_is_noted_once_a_round_and_not_once_a_trial(tmp_path):
    record = _record(tmp_path, "noted")
    sent = Sent()
    notebook = Notebook(record, sent)
    for number in range(100):
        sent.trials[number] = SentTrial(run=str(number))
        notebook.write_now_and_then()
    assert not (record.folder / "mlflow.json").exists()
    notebook.write()
    assert read_sent(record) == sent
    written = (record.folder / "mlflow.json").stat().st_ino
    notebook.write()
    assert (record.folder / "mlflow.json").stat().st_ino == written, "nothing is new"


def test_a_server_that_never_answers_is_left_alone_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        record = _record(tmp_path, "slow", trials=1)
        mirror = Mirror(record, f"http://127.0.0.1:{silent.getsockname()[1]}", interval_s=0.05)
        mirror.start()
        silent.accept()
        record.release()
        begin = time.monotonic()
        complaints = mirror.finish(timeout_s=0.5)
        assert time.monotonic() - begin < 2
    assert "not done after 0.5 s" in complaints[0]


def test_of_two_mirrors_of_one_sweep_the_second_waits_and_sends_nothing(root):
    record = _record(root, "both", trials=1)
    first = Mirror(record, default_uri(root), interval_s=0.05)
    first.start()
    while not (record.folder / "mlflow.json").exists():
        time.sleep(0.02)
    second = Mirror(record, default_uri(root))
    second.start()
    assert "another process" in second.finish(timeout_s=10)[0]
    third = Mirror(record, default_uri(root), interval_s=0.02)
    third.start()
    record.release()
    assert first.finish(timeout_s=60) == []
    assert third.finish(timeout_s=60) == [], "it waited for its turn"
    assert len(_history(record, "both/0000", "score")) == 2


def test_no_thread_stays_behind(root):
    _mirror(_record(root, "gone", trials=1))
    assert not [thread for thread in threading.enumerate() if thread.name == "mlflow" and thread.is_alive()]


def test_the_stores_that_a_spec_may_name_are_those_that_mlflow_writes_to(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    refused = ("", "file", "uc", "databricks-uc")
    ours = {name for name, make in _tracking_store_registry._registry.items() if make.__module__.startswith("mlflow.")}
    assert ours == {*STORES, *refused}
    for uri in (str(tmp_path), f"file://{tmp_path}", "uc://host", "databricks-uc"):
        with pytest.raises(MlflowException):
            _tracking_store_registry.get_store(uri)


def test_a_server_that_is_away_is_named_without_its_password(tmp_path, capsys):
    record = _record(tmp_path, "away", trials=1)
    complaints = _mirror(record, "http://me:secret-word@127.0.0.1:1")
    for complaint in complaints:
        say(complaint)
    said = "".join(capsys.readouterr())
    assert "MLflow at http://127.0.0.1:1 gets nothing for now" in said
    assert "MLflow at http://127.0.0.1:1 does not have everything" in said
    assert "secret-word" not in said
