import os
from collections import Counter
from pathlib import Path

import pytest

from evaluation.errors import InputError
from evaluation.tasks import TASKS, load_pairs, registry

REAL = os.environ.get("STSWEEP_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="STSWEEP_DATA names no SentEval archive")

# The scored pairs that the publishers state: SemEval 2012-2016 task papers, STS benchmark and SICK readmes.
PUBLISHED = {
    ("sts12", "test"): 3108,
    ("sts13", "test"): 1500,
    ("sts14", "test"): 3750,
    ("sts15", "test"): 3000,
    ("sts16", "test"): 1186,
    ("stsb", "train"): 5749,
    ("stsb", "dev"): 1500,
    ("stsb", "test"): 1379,
    ("sickr", "train"): 4500,
    ("sickr", "dev"): 500,
    ("sickr", "test"): 4927,
    ("stsb", "all"): 8628,
    ("sickr", "all"): 9927,
    ("sickr-mteb", "test"): 9927,
    ("stsb-dev-clean", "dev"): 369,
}


def write(folder, path, text):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


@needs_data
@pytest.mark.parametrize(("task", "split"), PUBLISHED)
def test_real_files_give_the_published_number_of_pairs(task, split):
    pairs = load_pairs(task, split, Path(REAL))
    assert len(pairs) == PUBLISHED[task, split]
    low = 1 if task.startswith("sickr") else 0
    assert (low <= pairs.gold).all() and (pairs.gold <= 5).all()
    assert (pairs.task, pairs.split) == (task, split)


@needs_data
def test_real_sts16_has_the_published_subsets():
    # Agirre et al. 2016, table 1.
    assert Counter(load_pairs("sts16", "test", Path(REAL)).subset) == {
        "answer-answer": 254,
        "headlines": 249,
        "plagiarism": 230,
        "postediting": 244,
        "question-question": 209,
    }


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_demo_task_needs_no_data_folder_and_grades_in_halves(split):
    pairs = load_pairs("demo", split, None)
    assert set(pairs.gold * 2) == set(range(11))


def test_the_demo_splits_share_no_pair():
    dev, test = (load_pairs("demo", split, None) for split in ("dev", "test"))
    assert not set(zip(dev.first, dev.second, strict=True)) & set(zip(test.first, test.second, strict=True))


def test_stsb_reads_its_columns_and_keeps_quotes(tmp_path):
    write(
        tmp_path,
        "STS/STSBenchmark/sts-dev.csv",
        'main-news\tMSRpar\t2012test\t1\t4.5\t"One said .\tTwo\n'
        'main-forums\tx\ty\t2\t0\tThree\tFour "\tsource\tsource\n',
    )
    pairs = load_pairs("stsb", "dev", tmp_path)
    assert pairs.first == ('"One said .', "Three")
    assert pairs.second == ("Two", 'Four "')
    assert pairs.gold.tolist() == [4.5, 0]
    assert pairs.subset == ("dev", "dev")  # SentEval takes a split as one; its genres are no subsets


def test_sick_skips_its_header_drops_carriage_returns_and_starts_at_one(tmp_path):
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\r\n"
    write(tmp_path, "SICK/SICK_trial.txt", header + "4\tA\tB\t3.6\tNEUTRAL\r\n5\tC\tD\t1\tNEUTRAL\r\n")
    pairs = load_pairs("sickr", "dev", tmp_path)
    assert (pairs.first, pairs.second, pairs.gold.tolist()) == (("A", "C"), ("B", "D"), [3.6, 1])
    write(tmp_path, "SICK/SICK_trial.txt", header + "4\tA\tB\t0.6\tNEUTRAL\r\n")
    with pytest.raises(InputError, match=r"SICK_trial.txt:2: gold 0.6 is out of range; allowed is 1 to 5"):
        load_pairs("sickr", "dev", tmp_path)


def test_all_subsets_of_a_year_are_joined_and_sts13_is_without_smt(tmp_path):
    for number, name in enumerate(("FNWN", "OnWN", "headlines", "SMT")):
        write(tmp_path, f"STS/STS13-en-test/STS.input.{name}.txt", f"{name} one\t{name} two\n")
        write(tmp_path, f"STS/STS13-en-test/STS.gs.{name}.txt", f"{number}\n")
    pairs = load_pairs("sts13", "test", tmp_path)
    assert pairs.first == ("FNWN one", "OnWN one", "headlines one")
    assert pairs.gold.tolist() == [0, 1, 2]
    assert pairs.subset == ("FNWN", "OnWN", "headlines")


def test_faults_of_several_files_are_told_in_one_error(tmp_path):
    write(tmp_path, "STS/STS13-en-test/STS.input.FNWN.txt", "no tab\n")
    write(tmp_path, "STS/STS13-en-test/STS.gs.FNWN.txt", "1\n")
    write(tmp_path, "STS/STS13-en-test/STS.input.OnWN.txt", "a\tb\n")
    write(tmp_path, "STS/STS13-en-test/STS.gs.OnWN.txt", "9\n")
    with pytest.raises(InputError) as caught:
        load_pairs("sts13", "test", tmp_path)
    message = str(caught.value)
    for part in (
        "STS.input.FNWN.txt:1: 1 tab-separated",
        "STS.gs.OnWN.txt:1: gold 9 is out of range",
        "STS.input.headlines.txt: no such file",
        "STS.gs.headlines.txt: no such file",
    ):
        assert part in message


def test_equal_golds_are_refused_with_the_place(tmp_path):
    write(tmp_path, "STS/STSBenchmark/sts-test.csv", "g\tf\ty\t1\t3\ta\tb\ng\tf\ty\t2\t3\tc\td\n")
    with pytest.raises(InputError, match=r"stsb test: every gold is 3.*STSBenchmark"):
        load_pairs("stsb", "test", tmp_path)


@pytest.mark.parametrize("below", ["", "downstream", "data/downstream", "senteval"])
def test_the_data_folder_may_be_the_archive_or_what_holds_it(tmp_path, below):
    write(tmp_path / below, "STS/STSBenchmark/sts-dev.csv", "g\tf\ty\t1\t3\ta\tb\ng\tf\ty\t2\t4\tc\td\n")
    assert len(load_pairs("stsb", "dev", tmp_path)) == 2


@pytest.mark.parametrize(
    ("task", "split", "message"),
    [
        ("stsB", "dev", r"unknown task: 'stsB'. Did you mean 'stsb'\? Allowed: sts12, .*, demo"),
        ("sts17", "test", r"unknown task: 'sts17'. Did you mean 'sts1\d'\?"),
        ("stsb", "validation", r"unknown split of stsb: 'validation'. Allowed: train, dev, test"),
        ("stsb", "tset", r"Did you mean 'test'\?"),
        ("sts12", "dev", r"unknown split of sts12: 'dev'.* Allowed: test"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(task, split, message):
    with pytest.raises(InputError, match=message):
        load_pairs(task, split, None)


def test_without_a_data_folder_the_error_says_how_to_give_one():
    with pytest.raises(InputError, match=r"'stsb' needs its data: .*STS/.*--data-dir FOLDER or in STSWEEP_DATA"):
        load_pairs("stsb", "dev", None)


def test_a_data_folder_without_the_task_is_told(tmp_path):
    with pytest.raises(InputError, match=r"'sickr': there is no folder .*SICK; --data-dir or STSWEEP_DATA"):
        load_pairs("sickr", "test", tmp_path)


def test_a_task_cannot_be_declared_twice():
    with pytest.raises(ValueError, match="two tasks are declared as 'stsb'"):
        registry([TASKS["stsb"], TASKS["stsb"]])


def stsb_line(first, second, gold):
    return f"g\tf\ty\t1\t{gold}\t{first}\t{second}\n"


def test_all_of_stsb_is_its_three_splits_as_subsets(tmp_path):
    for split, golds in (("train", (1, 2, 3)), ("dev", (4, 5)), ("test", (0, 1))):
        lines = "".join(stsb_line(f"{split} {gold}", "other", gold) for gold in golds)
        write(tmp_path, f"STS/STSBenchmark/sts-{split}.csv", lines)
    pairs = load_pairs("stsb", "all", tmp_path)
    assert pairs.gold.tolist() == [1, 2, 3, 4, 5, 0, 1]
    assert pairs.subset == ("train",) * 3 + ("dev",) * 2 + ("test",) * 2


def every_test_set(folder, pair):
    """All test sets, each with two pairs; `pair` is one of STS14's."""
    for year, task in ((12, "sts12"), (13, "sts13"), (14, "sts14"), (15, "sts15"), (16, "sts16")):
        for part in TASKS[task].splits["test"]:
            lines = "x one\ty one\nx two\ty two\n" + ("\t".join(pair) + "\n" if year == 14 else "")
            write(folder, f"{part.folder}/STS.input.{part.name}.txt", lines)
            write(folder, f"{part.folder}/STS.gs.{part.name}.txt", "1\n2\n" + ("3\n" if year == 14 else ""))
    write(folder, "STS/STSBenchmark/sts-test.csv", stsb_line("p", "q", 1) + stsb_line("r", "s", 2))
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    write(folder, "SICK/SICK_test_annotated.txt", header + "1\tk\tl\t1\tN\n2\tm\tn\t2\tN\n")


def test_the_clean_dev_split_leaves_out_what_a_test_set_has_in_either_order_and_any_case(tmp_path):
    every_test_set(tmp_path, ("A dog runs.", "The cat sleeps."))
    dev = [
        stsb_line("the cat  sleeps.", "a dog runs.", 1),
        stsb_line("The cat sleeps.", "A dog runs", 2),
        stsb_line("A dog runs.", "Another sentence.", 3),
        stsb_line("Q", "P", 4),
    ]
    write(tmp_path, "STS/STSBenchmark/sts-dev.csv", "".join(dev))
    assert load_pairs("stsb-dev-clean", "dev", tmp_path).gold.tolist() == [2, 3]


def test_the_clean_dev_split_says_that_it_needs_the_test_sets(tmp_path):
    write(tmp_path, "STS/STSBenchmark/sts-dev.csv", stsb_line("a", "b", 1) + stsb_line("c", "d", 2))
    with pytest.raises(InputError, match=r"stsb-dev-clean leaves out .*so reads them: .*sts12"):
        load_pairs("stsb-dev-clean", "dev", tmp_path)
