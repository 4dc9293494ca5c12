import json
import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from sweep.errors import Exit, Refused, Unreachable
from sweep.record import Record
from sweep.tracking.ui import comparison_link, serve_until_interrupted, served, unused_port


def _record(root, sent: dict | None) -> Record:
    record = Record.create(root, "first", "name: first\n", {})
    if sent is not None:
        (record.folder / "mlflow.json").write_text(json.dumps(sent))
    return record


def test_the_link_names_every_scored_run_and_the_experiment(tmp_path):
    trials = {
        "10": {"run": "c", "scored": True},
        "2": {"run": "b", "scored": True},
        "3": {"run": "waiting", "scored": False},
        "0": {"run": "a", "scored": True},
    }
    link = comparison_link(_record(tmp_path, {"experiment": "7", "trials": trials}), "http://127.0.0.1:5000")
    page, _, query = urlsplit(link).fragment.partition("?")
    assert link.startswith("http://127.0.0.1:5000/#/compare-runs?")
    assert page == "/compare-runs"
    said = {name: json.loads(value) for name, [value] in parse_qs(query).items()}
    assert said == {"runs": ["a", "b", "c"], "experiments": ["7"]}


def test_without_a_scored_trial_there_is_no_link_but_a_next_command(tmp_path):
    with pytest.raises(Refused, match="stsweep status first"):
        comparison_link(_record(tmp_path, None), "http://127.0.0.1:5000")


def test_a_taken_port_is_refused_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Refused, match="--port 0") as refused:
        unused_port("127.0.0.1", taken.getsockname()[1])
    assert refused.value.exit_code is Exit.REFUSED


def test_port_0_is_a_port_that_can_be_listened_on():
    port = unused_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port)):
        assert port > 0


def test_a_sweep_on_a_server_gets_that_servers_link_and_starts_nothing(tmp_path, capsys):
    sent = {
        "uri": "https://me:secret-word@mlflow.example/",
        "experiment": "7",
        "trials": {"0": {"run": "a", "scored": True}},
    }
    record = _record(tmp_path, sent)  # driven by this process, so its driver sends
    serve_until_interrupted(record, "127.0.0.1", 5000)
    assert capsys.readouterr().out.startswith("https://mlflow.example/#/compare-runs?runs=")


def test_a_server_that_cannot_start_is_unreachable_and_says_where_its_log_is(tmp_path):
    server = served("nonsense://", "127.0.0.1", unused_port("127.0.0.1"), root=tmp_path)
    with pytest.raises(Unreachable, match=r"mlflow-server\.log"), server:
        pass
