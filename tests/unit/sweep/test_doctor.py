"""What doctor makes of the facts of machines; the facts here are made up, one thing wrong at a time."""

from __future__ import annotations

import dataclasses
import json
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from sweep.doctor.examine import Examination, examine
from sweep.doctor.facts import CACHE, RAY_FOLDER, ROOT, Disk, Facts, Gpu, collect, parse_gpus
from sweep.doctor.judge import Line, judge_clock, judge_machine, judge_own_versions, judge_versions, worst
from sweep.doctor.surroundings import hub_line, root_line, token_line, tracking_lines
from sweep.errors import Exit
from tests.unit.sweep.control_store import control_store

GB = 10**9
VERSIONS = {
    "python": "3.11.7",
    "stsweep": "0.1.0",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "optuna": "5.0.0",
    "mlflow": "3.17.2",
}
H200 = Gpu("NVIDIA H200", 143_771, "570.86.15")
SOUND = Facts(
    host="gpu1",
    versions=VERSIONS,
    gpus=(H200, H200),
    torch_gpus=2,
    cpus=16,
    usable_cpus=16,
    counted_cpus=16,
    memory=64 * GB,
    disks={what: Disk("/there", 500 * GB, 1000 * GB) for what in (CACHE, RAY_FOLDER, ROOT)},
    unwritable={},
    shm=32 * GB,
    open_files=65536,
    variables={"RAY_ADDRESS": "10.0.0.1:6379"},
)


def lines(check: str | None = None, sets: dict[str, str] | None = None, **changes) -> list[Line]:
    found = judge_machine(dataclasses.replace(SOUND, **changes), "here", sets or {})
    return [line for line in found if check is None or line.check == check]


def test_a_sound_machine_is_ok_in_every_line():
    assert {line.level for line in lines()} == {"ok"}
    assert judge_own_versions(SOUND).level == "ok"


def test_gpus_are_counted_and_named_and_torch_must_see_them():
    (line,) = lines("gpus")
    assert "2 × NVIDIA H200 (151 GB, driver 570.86.15); torch sees 2" in line.found
    assert [(line.level, "CUDA_VISIBLE_DEVICES" in (line.remedy or "")) for line in lines("gpus", torch_gpus=1)] == [
        ("warn", True)
    ]
    (line,) = lines("gpus", torch_gpus=0)
    assert line.level == "bad"
    assert "pip install" in (line.remedy or "")


def test_nvidia_smis_table_is_read():
    said = "NVIDIA H200, 143771, 570.86.15\nNVIDIA A100-SXM4-80GB MIG 1g.10gb, [N/A], 570.86.15\n"
    assert parse_gpus(said) == (H200, Gpu("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 0, "570.86.15"))
    assert parse_gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == ()


@pytest.mark.parametrize(
    ("check", "level", "changes"),
    [
        ("cpus", "ok", {"counted_cpus": 4, "usable_cpus": 4}),
        ("cpus", "warn", {"usable_cpus": 2}),
        ("shared memory", "warn", {"shm": 64 * 2**20}),
        ("shared memory", "warn", {"shm": None}),
        ("shared memory", "ok", {"shm": 20 * GB}),
        ("open files", "warn", {"open_files": 1024}),
        ("open files", "bad", {"open_files": 128}),
        ("disk of root", "bad", {"disks": {ROOT: Disk("/there", GB // 2, 1000 * GB)}}),
        ("disk of root", "warn", {"disks": {ROOT: Disk("/there", 5 * GB, 20 * GB)}}),
        ("disk of root", "bad", {"unwritable": {ROOT: "/there cannot be written"}}),
        (f"disk of {RAY_FOLDER}", "warn", {"disks": {RAY_FOLDER: Disk("/tmp", 40 * GB, 1000 * GB)}}),
        ("disk of root", "ok", {"disks": {ROOT: Disk("/there", 40 * GB, 1000 * GB)}}),
        ("variables", "warn", {"variables": {"RAY_AUTH_MODE": "disabled"}}),
        ("variables", "bad", {"variables": {"RAY_TMPDIR": "/scratch/" + "deep/" * 10}}),
        ("variables", "ok", {"variables": {"RAY_TMPDIR": "/scratch/ray"}}),
    ],
)
def test_what_would_trouble_a_sweep_has_a_level_and_a_remedy(check, level, changes):
    (line,) = lines(check, **changes)
    assert line.level == level
    assert (line.remedy is not None) == (level != "ok")


def test_a_variable_that_undoes_what_a_sweep_relies_on_is_named():
    sets = {"TUNE_DISABLE_SIGINT_HANDLER": "1"}
    assert [line.level for line in lines("variables", sets, variables=sets)] == ["ok"]
    (line,) = lines("variables", sets, variables={"TUNE_DISABLE_SIGINT_HANDLER": "0"})
    assert line.level == "warn"
    assert line.remedy == "unset TUNE_DISABLE_SIGINT_HANDLER"


def test_versions_that_differ_are_named_with_both_numbers():
    def judged(**changes: str | None) -> Line:
        there = {name: number for name, number in (VERSIONS | changes).items() if number is not None}
        return judge_versions(dataclasses.replace(SOUND, versions=there), "node 1", SOUND)

    assert judged().level == "ok"
    assert judged(mlflow=None, optuna=None, stsweep=None).level == "ok", "workers do without them"
    line = judged(transformers="5.3.0")
    assert (line.level, line.found) == ("warn", "transformers 5.3.0, here 5.23.0")
    assert "transformers==5.23.0" in (line.remedy or "")
    assert judged(ray="2.61.0").level == "bad"
    assert judged(python="3.12.1").level == "bad"
    assert judged(torch=None).found == "torch missing, here 2.13.0"
    assert judged(torch=None).level == "bad"


def test_a_clock_is_judged_by_what_is_sure_of_it():
    assert judge_clock("node 1", 0.9, 0.0).level == "ok"
    assert judge_clock("node 1", -1.5, 0.1).level == "warn"
    assert judge_clock("node 1", 1.5, 1.0).level == "ok", "the round trip took as long"
    assert judge_clock("node 1", -11, 0.1).level == "bad"
    assert judge_clock("node 1", 0.0, float("inf")).level == "ok"


def test_the_worst_line_decides_the_exit_code():
    ok, warn, bad = (Line(level, "disk", "here", "so", "do") for level in ("ok", "warn", "bad"))
    assert worst([ok, bad, warn]) == "bad"
    assert worst([]) == "ok"
    assert Examination(None, (ok, warn)).exit_code == Exit.DONE
    assert Examination(None, (ok, bad)).exit_code == Exit.REFUSED
    assert Examination("h:1", (ok, bad), is_reachable=False).exit_code == Exit.UNREACHABLE
    text = Examination(None, (ok, warn, bad)).to_text()
    assert "1 ok, 1 warn, 1 bad" in text
    assert "Next: " in text
    assert json.loads(json.dumps(Examination(None, (ok,)).to_json())) == {
        "address": None,
        "reachable": True,
        "worst": "ok",
        "lines": [{"level": "ok", "check": "disk", "where": "here", "found": "so", "remedy": "do"}],
    }


class TestCluster:
    """One that is not asked has a line with the remedy of what is wrong with it."""

    @pytest.fixture(autouse=True)
    def clean(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        self.root = tmp_path

    def examined(self, address: str) -> tuple[Examination, Line]:
        found = examine(address, str(self.root))
        (line,) = (line for line in found.lines if line.check == "cluster")
        return found, line

    def test_of_other_versions(self):
        with control_store(ray_version="2.40.0") as address:
            found, line = self.examined(address)
        assert (found.exit_code, found.address) == (Exit.UNREACHABLE, address)
        assert "Ray 2.40.0" in line.found
        assert line.remedy == "install the cluster's versions here, or these on the cluster"

    def test_that_wants_a_token(self, monkeypatch):
        with control_store(token="right") as address:
            monkeypatch.setenv("RAY_ADDRESS", address)
            found, line = self.examined("auto")
        assert (found.exit_code, found.address) == (Exit.UNREACHABLE, address)
        assert "(401)" in line.found
        assert "ray get-auth-token" in (line.remedy or "")

    def test_whose_address_is_none(self):
        found, line = self.examined("http://me:secret-word@head:1")
        assert found.exit_code == Exit.REFUSED
        assert "the same command with --address HOST:PORT" in (line.remedy or "")
        assert "secret-word" not in found.to_text() + json.dumps(found.to_json())


def test_this_machines_facts_can_be_had_and_hold_no_token(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_REDIS_PASSWORD"):
        monkeypatch.setenv(name, "secret-word")
    monkeypatch.setenv("RAY_REDIS_ADDRESS", "redis://:secret-word@head:6379")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    facts = collect(str(tmp_path / "not" / "there"))
    assert facts.disks[ROOT].path == str(tmp_path), "the folder above, which is there"
    assert facts.disks[ROOT].free <= facts.disks[ROOT].total
    assert 1 <= facts.usable_cpus <= facts.cpus
    assert facts.versions["ray"]
    assert facts.variables["RAY_TMPDIR"] == str(tmp_path)
    assert "secret-word" not in repr(facts)


class TestToken:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / ".ray").mkdir()
        self.file = tmp_path / ".ray" / "auth_token"

    def write(self, text: str, mode: int) -> None:
        self.file.write_text(text)
        self.file.chmod(mode)

    def test_none_yet_is_fine_for_this_machine(self):
        assert token_line().level == "ok"

    def test_a_token_is_never_shown_and_its_file_is_for_its_owner_alone(self, monkeypatch):
        self.write("secret-word\n", 0o600)
        assert token_line().level == "ok"
        self.file.chmod(0o644)
        line = token_line()
        assert (line.level, line.remedy) == ("warn", f"chmod 600 {self.file}")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-word")
        assert "secret-word" not in repr([line, token_line()])

    def test_no_authentication_an_empty_file_and_a_wrong_path_are_told(self, monkeypatch):
        self.write("", 0o600)
        assert token_line().level == "bad"
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
        assert "/nowhere/token" in token_line().found
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert token_line().level == "warn"


class _Server(BaseHTTPRequestHandler):
    """What MLflow answers at /version, or a proxy that asks for a password."""

    code, text = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "text", "level", "said"),
    [
        (200, b"3.99.0", "ok", "MLflow 3.99.0"),
        (200, b"2.1.0", "warn", "MLflow 2.1.0"),
        (401, b"", "warn", "asks who you are"),
        (500, b"", "warn", "500"),
    ],
)
def test_a_tracking_server_is_asked_for_its_version(tmp_path, monkeypatch, code, text, level, said):
    server = HTTPServer(("127.0.0.1", 0), type("Server", (_Server,), {"code": code, "text": text}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        (line,) = tracking_lines(tmp_path)
    finally:
        server.shutdown()
    assert (line.level, said in line.found) == (level, True)


def test_a_tracking_server_that_speaks_no_http_is_a_warning(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        (line,) = tracking_lines(tmp_path)
    assert line.level == "warn"
    assert "does not answer: SSH-2.0" in line.found


def test_a_tracking_server_that_is_away_is_a_warning_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret-word@127.0.0.1:1/mlflow")
    (line,) = tracking_lines(tmp_path)
    assert line.level == "warn"
    assert "http://127.0.0.1:1/mlflow" in line.found
    assert "secret-word" not in repr(line)


def test_without_a_server_the_root_has_the_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert [line.level for line in tracking_lines(tmp_path)] == ["ok"]


def test_the_server_of_the_roots_newest_sweep_is_asked_too(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sweep.json").write_text("{}")
    (tmp_path / "first" / "spec.yaml").write_text("tracking_uri: http://127.0.0.1:1\n")
    (line,) = tracking_lines(tmp_path)
    assert "http://127.0.0.1:1 does not answer" in line.found


def test_offline_the_hub_is_a_warning_and_its_cache_is_named(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = hub_line()
    assert line.level == "warn"
    assert f"{tmp_path / 'hub'} (0 models)" in line.found
    assert "HF_HUB_OFFLINE" in line.found


def test_a_root_that_is_a_file_is_bad(tmp_path):
    (tmp_path / "sweeps").write_text("")
    assert root_line(str(tmp_path / "sweeps")).level == "bad"
    assert root_line(str(tmp_path / "new")).level == "ok"
    assert not (tmp_path / "new").exists(), "nothing is made"


class TestRootAtAUri:
    """The store is asked, not its copy here; of the machine no disk of a root is looked at."""

    @pytest.fixture(autouse=True)
    def clean(self, tmp_path, monkeypatch):
        monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        (tmp_path / "there").mkdir()
        self.uri = f"file://{tmp_path}/there"

    def test_what_is_there_is_counted(self, tmp_path):
        assert root_line(self.uri).found == f"{self.uri}: no sweeps"
        (tmp_path / "there" / "first" / "driver").mkdir(parents=True)
        found = examine(None, self.uri)
        (line,) = (line for line in found.lines if line.check == "root")
        assert (line.level, line.found) == ("ok", f"{self.uri}: 1 sweeps")
        assert not [line for line in found.lines if line.check == "disk of root"]

    @pytest.mark.parametrize(
        ("uri", "said"), [("file:///nowhere/a", "no folder /nowhere"), ("s3a://bucket/x", "did you mean s3?")]
    )
    def test_a_store_that_cannot_be_used_is_a_line_among_the_others(self, uri, said):
        found = examine(None, uri)
        (line,) = (line for line in found.lines if line.check == "root")
        assert line.level == "bad"
        assert said in line.found
        assert line.remedy
        assert found.exit_code is Exit.REFUSED
        assert len(found.lines) > 8
