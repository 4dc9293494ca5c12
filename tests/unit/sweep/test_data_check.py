"""`stsweep data check` on a small archive written by hand, and on the real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.leaks import Overlap
from evaluation.readers import InputAndGold
from evaluation.tasks import TASKS
from model.corpus import read_corpus
from sweep.data_check import check_data, clean_corpus
from sweep.errors import Refused
from sweep.leak_report import LeakReport, SplitAudit
from tests.unit.sweep.specs import load

REAL = os.environ.get("STSWEEP_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="STSWEEP_DATA names no SentEval archive")
YEARS = ("sts12", "sts13", "sts14", "sts15", "sts16")

STSB = {
    "train": [("Two.", "One."), ("Of no", "test")],
    "dev": [("A dog runs.", "A cat sits."), ("a man plays", "the piano"), ("Snow.", "Rain."), ("It is.", "It was.")],
    "test": [("A cat sits.", "a DOG runs."), ("Snow!", "Rain"), ("One.", "Two.")],
}
SICK = {
    "train": [("three", "four"), ("It was.", "four")],
    "trial": [("five", "One."), ("six", "seven")],
    "test_annotated": [("One.", "Two."), ("A man plays", "The piano"), ("eight", "nine")],
}
CORPUS = ["The piano", "the piano!", "Something else.", "It is.", "SNOW", "He said: snow"]


@pytest.fixture(autouse=True)
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STSWEEP_DATA", raising=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """STS-B and SICK as above; STS12 to 16 share nothing with anything."""
    folder = tmp_path / "archive"
    for split, pairs in STSB.items():
        lines = [f"g\tf\ty\t{i}\t{i}\t{first}\t{second}\n" for i, (first, second) in enumerate(pairs)]
        write(folder / f"STS/STSBenchmark/sts-{split}.csv", "".join(lines))
    for name, pairs in SICK.items():
        lines = [f"{i}\t{first}\t{second}\t{1 + i}\tX\r\n" for i, (first, second) in enumerate(pairs)]
        write(folder / f"SICK/SICK_{name}.txt", "pair_ID\tA\tB\tscore\tjudgment\r\n" + "".join(lines))
    for year in YEARS:
        for i, part in enumerate(TASKS[year].splits["test"]):
            assert isinstance(part, InputAndGold)
            write(folder / part.folder / f"STS.input.{part.name}.txt", f"{year} a {i}\t{year} b {i}\n")
            write(folder / part.folder / f"STS.gs.{part.name}.txt", f"{i}\n")
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(write(tmp_path / "corpus.txt", "".join(f"{sentence}\n" for sentence in CORPUS)))


def counts(overlap: Overlap) -> tuple[int, int, int]:
    return overlap.same_text, overlap.same_words, overlap.of


def audit_of(report: LeakReport, split: str) -> SplitAudit:
    return next(audit for audit in (*report.selection, *report.tests) if audit.split == split)


def refused(**arguments: object) -> Refused:
    with pytest.raises(Refused) as caught:
        check_data(**arguments)  # type: ignore[arg-type]
    return caught.value


def test_stsb_dev_is_found_in_the_tests_as_counted_by_hand(archive: Path) -> None:
    dev = audit_of(check_data(data_dir=archive), "stsb dev")
    assert counts(dev.each["stsb"].pairs) == (1, 2, 4)  # dog and cat; snow and rain by their words
    assert counts(dev.each["stsb"].test_pairs) == (1, 2, 3)
    assert counts(dev.each["sickr"].pairs) == (1, 1, 4)  # man and piano
    assert counts(dev.each["sts12"].pairs) == (0, 0, 4)
    assert counts(dev.together.pairs) == (2, 3, 4)
    assert counts(dev.together.sentences) == (4, 6, 8)  # neither "It is." nor "It was."


def test_a_sentence_without_its_partner_counts_as_a_sentence_only(archive: Path) -> None:
    found = audit_of(check_data(data_dir=archive), "sickr dev").together
    assert counts(found.pairs) == (0, 0, 2)
    assert counts(found.sentences) == (1, 1, 4)


def test_a_test_is_held_against_the_other_tests_and_not_against_itself(archive: Path) -> None:
    report = check_data(data_dir=archive)
    assert [audit.split for audit in report.tests] == [*YEARS, "stsb", "sickr", "demo"]
    stsb = audit_of(report, "stsb")
    assert list(stsb.each) == [*YEARS, "sickr", "demo"]
    assert counts(stsb.each["sickr"].pairs) == counts(stsb.together.pairs) == (1, 1, 3)
    assert counts(audit_of(report, "sts14").together.pairs) == (0, 0, 6)


def test_only_the_named_tasks_are_audited(archive: Path) -> None:
    report = check_data(tasks="sickr, stsb", data_dir=archive)
    assert [audit.split for audit in report.tests] == ["stsb", "sickr"]
    assert {audit.split.split()[0] for audit in report.selection} == {"stsb", "sickr"}


def test_the_demonstration_needs_no_folder_and_shares_nothing() -> None:
    report = check_data(tasks="demo", corpus="demo")
    assert counts(audit_of(report, "demo dev").together.sentences)[:2] == (0, 0)
    assert report.corpus is not None and report.corpus.leaked == 0
    assert "Next:" not in report.to_text()


def test_the_corpus_is_counted_by_the_tests_sentences_and_by_its_own(archive: Path, corpus: str) -> None:
    found = check_data(corpus=corpus, data_dir=archive).corpus
    assert found is not None
    assert (found.sentences, found.leaked) == (6, 3)  # piano twice, snow
    assert counts(found.each["sickr"]) == (1, 1, 6)
    assert counts(found.each["stsb"]) == (0, 1, 6)
    assert counts(found.together)[:2] == (1, 2)


def test_a_spec_brings_its_objective_its_corpus_and_its_data(archive: Path, corpus: str, tmp_path: Path) -> None:
    text = (
        f"name: s\nobjective: {{task: stsb}}\ntrials: 3\ndata_dir: {archive}\ntrain: {{data: {{corpus: [{corpus}]}}}}\n"
    )
    report = check_data(spec=load(tmp_path, text))
    assert report.objective == "stsb dev"
    assert report.corpus is not None and report.corpus.files == (corpus,)
    said = report.to_text()
    assert "objective stsb dev: 2 of 4 pairs occur in these tests (3 by their words), and 4 of 8 sentences" in said
    assert "--set objective.task=stsb-dev-clean --set objective.split=dev" in said


def test_what_is_given_beside_a_spec_goes_before_it(archive: Path, corpus: str, tmp_path: Path) -> None:
    spec = load(tmp_path, "name: s\nobjective: {task: demo}\ntrials: 3\ndata_dir: /nowhere\n")
    report = check_data(spec=spec, corpus=corpus, data_dir=archive)
    assert report.data_dir == str(archive)
    assert report.corpus is not None and report.corpus.files == (corpus,)
    assert "Next: choose on" not in report.to_text()  # the demonstration leaks nothing


def test_the_objective_is_audited_whatever_split_it_is(archive: Path, tmp_path: Path) -> None:
    spec = load(tmp_path, "name: s\nobjective: {task: stsb, split: train}\ntrials: 3\n")
    report = check_data(spec=spec, tasks="sickr", data_dir=archive)
    assert counts(audit_of(report, "stsb train").each["sickr"].pairs) == (1, 1, 2)


def test_clean_splits_share_no_pair_with_any_test_and_are_named_only_if_every_test_is_there(archive: Path) -> None:
    clean = check_data(data_dir=archive).clean
    assert {"sickr train", "sickr dev", "stsb-dev-clean dev"} <= set(clean)
    assert not {"stsb dev", "stsb train", "demo dev"} & set(clean)
    shutil.rmtree(archive / "STS/STS13-en-test")
    report = check_data(data_dir=archive)
    assert report.clean == ()
    assert "Next: choose on" not in report.to_text()


def test_what_is_missing_is_named_and_the_rest_audited(archive: Path) -> None:
    shutil.rmtree(archive / "STS/STS13-en-test")
    (archive / "STS/STSBenchmark/sts-train.csv").unlink()
    report = check_data(data_dir=archive)
    named = {split: reason for reason, splits in report.not_audited.items() for split in splits}
    assert {"sts13 test", "stsb train"} <= set(named) and "stsb dev" not in named
    assert "STS13-en-test" in named["sts13 test"] and "sts-train.csv: no such file" in named["stsb train"]
    assert counts(audit_of(report, "stsb dev").together.pairs) == (2, 3, 4)
    assert "Not audited: stsb train: " in report.to_text()


def test_no_data_is_refused_with_what_to_give(tmp_path: Path) -> None:
    assert "--data-dir FOLDER, laid out as the SentEval archive, or set STSWEEP_DATA" in str(refused())
    assert f"{tmp_path} holds the files of no task; looked for STS/STS12-en-test" in str(refused(data_dir=tmp_path))


def test_data_that_was_asked_for_must_be_there(archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(archive / "STS/STSBenchmark")
    assert "STS/STSBenchmark" in str(refused(tasks="stsb,sickr", data_dir=archive))
    spec = load(tmp_path, "name: s\nobjective: {task: stsb}\ntrials: 3\n")
    assert "STS/STSBenchmark" in str(refused(spec=spec, data_dir=archive))
    assert "STSWEEP_DATA" in str(refused(spec=spec))


def test_every_mistake_is_told_at_once(archive: Path, tmp_path: Path) -> None:
    error = refused(
        tasks="stbs,sickr", corpus=f"{tmp_path}/none.txt,{tmp_path}", data_dir=archive, write_clean=archive / "SICK"
    )
    assert sorted(problem.key for problem in error.problems if problem.key) == [
        "--corpus",
        "--corpus",
        "--tasks",
        "--write-clean",
    ]
    assert "did you mean stsb?" in str(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ","}, "no test split among no task"),
        ({"tasks": "stsb-dev-clean"}, "no test split among stsb-dev-clean"),
        ({"tasks": "sickr-mteb"}, "'sickr-mteb' is no task that can be audited; give some of sts12"),
        ({"corpus": " ,"}, "names no file; give text files, comma-joined, or demo"),
        ({"write_clean": Path("clean.txt")}, "no corpus to clean; give --corpus FILES"),
    ],
)
def test_arguments_that_name_nothing_are_refused(archive: Path, arguments: dict[str, object], message: str) -> None:
    assert message in str(refused(data_dir=archive, **arguments))


def test_the_clean_corpus_has_every_other_sentence_and_passes_the_audit(
    archive: Path, corpus: str, tmp_path: Path
) -> None:
    clean = tmp_path / "clean.txt"
    report = check_data(corpus=corpus, data_dir=archive, write_clean=clean)
    assert clean.read_bytes() == b"Something else.\nIt is.\nHe said: snow\n"
    assert f"3 sentences written to {clean}" in report.to_text()
    again = check_data(corpus=str(clean), data_dir=archive).corpus
    assert again is not None and (again.sentences, again.leaked) == (3, 0)


def test_the_clean_corpus_keeps_characters_that_only_look_like_line_ends(tmp_path: Path) -> None:
    sentences = ["one\u2028two", "three\u0085four", "five\x0csix", "seven\reight", "gone"]
    clean_corpus(sentences, ["gone"], tmp_path / "clean.txt")
    assert read_corpus([str(tmp_path / "clean.txt")]) == sentences[:-1]


def test_no_file_is_overwritten_or_left_empty(archive: Path, corpus: str, tmp_path: Path) -> None:
    before = Path(corpus).read_bytes()
    error = refused(corpus=corpus, data_dir=archive, write_clean=Path(corpus))
    assert "exists already and is not overwritten" in str(error)
    assert Path(corpus).read_bytes() == before
    leaky = write(tmp_path / "leaky.txt", "The piano\n")
    error = refused(corpus=str(leaky), data_dir=archive, write_clean=tmp_path / "clean.txt")
    assert "none would be left" in str(error)
    assert not (tmp_path / "clean.txt").exists()


def test_the_text_lists_what_is_not_zero_and_counts_the_rest(archive: Path, corpus: str) -> None:
    said = check_data(corpus=corpus, data_dir=archive, tasks="stsb,sickr,sts12").to_text()
    chosen, tests = said.split("\n\n")[1:3]
    rows = [" ".join(line.split()) for line in chosen.splitlines()]
    assert "stsb dev all 2 of 4 3 2 of 11 4 of 8" in rows
    assert "sickr 1 of 4 1 1 of 3 2 of 8" in rows
    assert not any(row.startswith("sts12") for row in rows)
    # Four splits and three tests: stsb train and dev each share pairs with both but STS12, sickr's with none; of those
    # eight, sickr dev shares "One." with two and sickr train nothing.
    assert rows[-1] == "Not listed: 8 without a common pair, of which 2 have common sentences"
    assert tests.splitlines()[-1] == "Not listed: 2 without a common pair, of which 0 have common sentences"
    assert "3 of 6 sentences have the words of a test sentence" in said
    assert f"Next: stsweep data check --corpus {corpus} --write-clean clean.txt leaves those 3 out" in said


def test_json_has_the_counts_and_a_few_examples(archive: Path, corpus: str) -> None:
    found = json.loads(json.dumps(check_data(corpus=corpus, data_dir=archive).to_json()))
    dev = next(audit for audit in found["selection"] if audit["split"] == "stsb dev")
    assert dev["each"]["stsb"]["pairs"] == {
        "of": 4,
        "same_text": 1,
        "same_words": 2,
        "examples": [
            {"text": ["A dog runs.", "A cat sits."], "found_as": ["A cat sits.", "a DOG runs."], "same_text": True},
            {"text": ["Snow.", "Rain."], "found_as": ["Snow!", "Rain"], "same_text": False},
        ],
    }
    assert found["corpus"]["leaked"] == 3


def test_the_audit_loads_no_torch() -> None:
    code = (
        "import sys; from sweep.data_check import check_data; check_data(tasks='demo', corpus='demo').to_text(); "
        "assert not {'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_data
def test_on_the_real_data_1131_pairs_of_stsb_dev_leak_and_the_clean_369_do_not() -> None:
    report = check_data(data_dir=Path(str(REAL)))
    assert not report.not_audited
    dev, clean = audit_of(report, "stsb dev").together.pairs, audit_of(report, "stsb-dev-clean dev").together.pairs
    assert (dev.same_text, dev.of) == (1131, 1500)
    assert counts(clean) == (0, 6, 369)
    assert report.clean == ("stsb-dev-clean dev",)
    assert audit_of(report, "stsb").together.pairs.same_text == 1007
