"""`stsweep doctor --cluster-file`: the mistakes of a file for `ray up`, where Ray's own answer is a wall."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.doctor.cluster_file import check_cluster_file
from sweep.errors import Refused

HOUSE = Path(__file__).parents[3]
SHIPPED = [HOUSE / "cluster.yaml", HOUSE / "deploy" / "onprem.yaml"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_have_no_mistake(path: Path) -> None:
    check_cluster_file(path)


def said(folder: Path, *changes: tuple[str, str], of: Path = SHIPPED[0]) -> list[str]:
    text = of.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "mine.yaml"
    path.write_text(text)
    with pytest.raises(Refused) as refused:
        check_cluster_file(path)
    assert refused.value.next == f"correct it, then: ray up {path}"
    return [str(problem).removeprefix(f"{folder}/") for problem in refused.value.problems]


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if words in line)


def test_every_mistake_is_said_at_its_line_with_the_key_that_was_meant(tmp_path: Path) -> None:
    text = SHIPPED[0].read_text()
    found = said(tmp_path, ("idle_timeout_minutes:", "idle_timeout_minute:"), ("  ssh_user:", "  ssh_usr:"))
    assert [each.partition(": no such key")[0] for each in found] == [
        f"mine.yaml:{line_of(text, 'idle_timeout_minutes:')}: idle_timeout_minute",
        f"mine.yaml:{line_of(text, '  ssh_user:')}: auth.ssh_usr",
    ]
    assert found[0].endswith("did you mean idle_timeout_minutes?")
    assert found[1].endswith("did you mean ssh_user?")


def test_a_value_of_a_wrong_type_is_said_with_what_is_allowed(tmp_path: Path) -> None:
    (found,) = said(tmp_path, ("idle_timeout_minutes: ", "idle_timeout_minutes: soon #"))
    assert "idle_timeout_minutes: 'soon' is not allowed; give a finite number" in found


def test_a_missing_key_is_said_where_it_belongs(tmp_path: Path) -> None:
    found = said(tmp_path, ("    node_config:", "    node_confg:"))
    assert [each.partition(": ")[2] for each in found if each.endswith("missing")] == [
        "available_node_types.head.node_config: missing",
        "available_node_types.gpu_worker.node_config: missing",
    ]


def test_a_misspelt_key_that_ray_ignores_is_said_too(tmp_path: Path) -> None:
    (found,) = said(tmp_path, ("  worker_ips:", "  worker_ip:"), of=SHIPPED[1])
    assert found.endswith("provider.worker_ip: no such key, and Ray ignores it; did you mean worker_ips?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty; a cluster starts with `cluster_name: NAME`"),
        ("- 1\n", "not a mapping; a cluster starts with"),
        ("name: s\ntrials: 3\n", "no file for `ray up`: it has neither cluster_name nor provider"),
        ("cluster_name: [", "not YAML"),
    ],
)
def test_a_file_that_is_none_for_ray_is_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match=r"mine\.yaml") as refused:
        check_cluster_file(path)
    assert words in str(refused.value)
    assert len(refused.value.problems) == 1
