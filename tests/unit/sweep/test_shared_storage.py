"""What the answers of nodes say of storage that they should share."""

from pathlib import Path

import pytest

from sweep.meeting import DRIVER, FolderMeeting, StoreMeeting, meeting_in, visit
from sweep.nodes import Answer, Node, alive
from sweep.object_store.root import root_folder
from sweep.shared_storage import Seen, can_run, judge, needed_paths
from sweep.spec.sweep_spec import SweepSpec, load_spec

ROOT = "/data/sweeps/first"


def node(number: int, cpus: float = 4, gpus: float = 0) -> Node:
    return Node(id=f"{number:08x}" * 7, address=f"10.0.0.{number}", host=f"gpu{number}", cpus=cpus, gpus=gpus)


def answer(number: int, fault: str | None = None, word: str | None = "word", missing: tuple[str, ...] = ()):
    return Answer(node(number), Seen(fault, word, missing))


def words(*numbers: int) -> dict[str, str]:
    return {node(number).id: "word" for number in numbers}


def test_nodes_that_see_everything_are_no_problem():
    assert judge([answer(1), answer(2)], ROOT, words(1, 2)) == []


def test_one_problem_a_path_names_its_nodes():
    answers = [answer(1), answer(2, "is not there", None, ("/corpus.txt",)), answer(3, "is not there", None)]
    found = {problem.message: problem.key for problem in judge(answers, ROOT, words(1))}
    assert found == {
        f"{ROOT} is not there on node 00000002 (gpu2, 10.0.0.2), node 00000003 (gpu3, 10.0.0.3)": "--root",
        "/corpus.txt is not there on node 00000002 (gpu2, 10.0.0.2)": None,
    }


@pytest.mark.parametrize("there", [{}, {node(1).id: "another"}])
def test_what_a_node_wrote_and_the_driver_does_not_find_went_to_another_folder(there):
    (problem,) = judge([answer(1)], ROOT, there)
    assert "is another one" in problem.message
    assert "gpu1" in problem.message


@pytest.fixture(params=["folder", "uri"])
def shared(request, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A folder, and the one by which the driver calls it, or its URI."""
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    there = tmp_path / "there"
    there.mkdir()
    return there, there if request.param == "folder" else root_folder(f"file://{there}") / "first"


def test_driver_and_node_read_one_another_and_leave_nothing_behind(shared):
    there, folder = shared
    meeting = meeting_in(folder)
    fault, written = visit(meeting, meeting.write(DRIVER), "node")
    assert (fault, meeting.read("node")) == (None, written)
    assert written is not None
    meeting.end([DRIVER, "node"])
    assert list(there.iterdir()) == []


def test_a_folder_of_the_nodes_own_is_found_out_though_its_path_is_right(shared):
    there, folder = shared
    meeting = meeting_in(folder)
    word = meeting.write(DRIVER)
    there.rename(there.with_name("elsewhere"))
    fault, written = visit(meeting, word, "node")
    assert ("is not there" in fault or "has no folder" in fault, written) == (True, None)
    there.mkdir()
    fault, written = visit(meeting, word, "node")
    assert ("is another one of the same name" in fault, written) == (True, None)
    meeting.write(DRIVER)
    assert "is another one of the same name" in visit(meeting, word, "node")[0]


def test_a_node_that_may_not_write_there_says_why():
    meeting = FolderMeeting(Path("/proc/self"), "environ")  # a file that is there, of a name that is no folder
    assert visit(meeting, "word", "node") == ("cannot be used: Not a directory", None)


def test_keys_go_along_and_are_in_no_message(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tell-nobody")
    meeting = StoreMeeting("s3://bucket/a")
    assert meeting.keys["AWS_SECRET_ACCESS_KEY"] == "tell-nobody"
    assert "tell-nobody" not in repr(meeting)


def test_a_node_that_does_not_answer_is_not_accused():
    assert judge([Answer(node(1), None, "did not answer")], ROOT, {}) == []


def test_of_many_nodes_some_are_named_and_the_rest_counted():
    (problem,) = judge([answer(number, "is not there", None) for number in range(64)], ROOT, {})
    assert problem.message.count("gpu") == 4
    assert problem.message.endswith("and 60 more")


def test_a_head_without_processors_is_not_asked():
    assert not can_run(node(1, cpus=0), 1, 0)
    assert not can_run(node(1, cpus=0), 0, 0)
    assert not can_run(node(1), 1, 1)
    assert can_run(node(1, gpus=8), 1, 1)
    assert can_run(node(1, gpus=8), 1, 0.5)


def test_what_workers_read_is_corpus_data_and_every_encoder_in_a_folder(tmp_path):
    spec = load(
        tmp_path,
        """
        train: {encoder: {name: /models/student}, teacher: {name: /models/teacher}, data: {corpus: [/c/a.txt, demo]}}
        search: {encoder.name: {choices: [/models/student, /models/other, some/hub-id]}}
        objective: {task: stsb, split: dev}
        data_dir: /senteval
        """,
    )
    folders = ["/models/student", "/models/other", "/models/teacher", "/senteval", "/c/a.txt"]
    assert sorted(needed_paths(spec)) == sorted(folders)


def test_the_demonstration_needs_no_path(tmp_path):
    spec = load(
        tmp_path, "train: {encoder: {name: some/id}, data: {corpus: demo}}\nobjective: {task: demo, split: dev}"
    )
    assert needed_paths(spec) == []


def load(folder: Path, text: str) -> SweepSpec:
    import textwrap

    path = folder / "spec.yaml"
    path.write_text("name: first\ntrials: 1\nscheduler: {name: none}\n" + textwrap.dedent(text))
    return load_spec(path)


def test_the_dead_are_not_among_the_nodes_and_who_is_has_what_ray_says():
    table = [
        {"NodeID": "b" * 56, "NodeManagerAddress": "10.0.0.2", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}},
        {"NodeID": "a" * 56, "NodeManagerAddress": "10.0.0.3", "Alive": False, "Resources": {}},
        {"NodeID": "c" * 56, "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {}},
    ]
    head, worker = alive(table)
    assert (head.address, head.cpus, head.gpus) == ("10.0.0.1", 0, 0)
    assert str(worker) == "node bbbbbbbb (10.0.0.2)"
    assert (worker.cpus, worker.gpus) == (4, 2)
