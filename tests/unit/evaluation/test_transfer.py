import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.errors import InputError
from evaluation.transfer import TRANSFER, load_labelled

REAL = os.environ.get("STSWEEP_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="STSWEEP_DATA names no SentEval archive")

# The numbers of examples that Conneau and Kiela 2018 (table 1) and the authors of the tasks state.
PUBLISHED = {
    "mr": {"train": 10662},
    "cr": {"train": 3775},
    "subj": {"train": 10000},
    "mpqa": {"train": 10606},
    "sst2": {"train": 67349, "dev": 872, "test": 1821},
    "trec": {"train": 5452, "test": 500},
    "mrpc": {"train": 4076, "test": 1725},
}


def write(folder, path, text):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def lines(form, count=12):
    return "".join(form.format(i) + "\n" for i in range(count))


def texts_of(labelled, split="train"):
    return [" | ".join(texts) for texts in labelled.splits[split].texts]


@needs_data
@pytest.mark.parametrize("task", TRANSFER)
def test_real_files_give_the_published_number_of_examples(task):
    labelled = load_labelled(task, Path(REAL))
    assert {split: len(examples) for split, examples in labelled.splits.items()} == PUBLISHED[task]


@needs_data
@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("mr", ("MR/rt-polarity.pos", "MR/rt-polarity.neg")),
        ("cr", ("CR/custrev.pos", "CR/custrev.neg")),
        ("subj", ("SUBJ/subj.objective", "SUBJ/subj.subjective")),
        ("mpqa", ("MPQA/mpqa.pos", "MPQA/mpqa.neg")),
    ],
)
def test_real_two_file_tasks_give_what_sentevals_way_of_reading_gives(task, files):
    read = [Path(REAL, file).read_text("latin-1").splitlines() for file in files]
    train = load_labelled(task, Path(REAL)).splits["train"]
    assert train.texts == tuple((" ".join(line.split()),) for part in read for line in part)
    assert train.labels.tolist() == [1] * len(read[0]) + [0] * len(read[1])


@needs_data
def test_real_trec_holds_its_one_letter_beyond_ascii():
    assert "sisterðcity" in " ".join(texts_of(load_labelled("trec", Path(REAL))))


def test_the_file_of_class_one_comes_first_and_a_blank_line_is_an_empty_example(tmp_path):
    write(tmp_path, "CR/custrev.pos", lines("good  {} .", 11) + "\n")
    write(tmp_path, "CR/custrev.neg", lines("bad {} .", 12) + "bad again")
    labelled = load_labelled("cr", tmp_path)
    train = labelled.splits["train"]
    assert texts_of(labelled) == [f"good {i} ." for i in range(11)] + [""] + [f"bad {i} ." for i in range(12)] + [
        "bad again"
    ]
    assert [labelled.classes[label] for label in train.labels] == ["positive"] * 12 + ["negative"] * 13
    assert train.labels[0] == 1


def test_one_class_files_are_latin_1_and_only_a_line_feed_ends_a_line(tmp_path):
    write(tmp_path, "MR/rt-polarity.pos", b"caf\xe9 one\x85two\r\n" + lines("good {}").encode())
    write(tmp_path, "MR/rt-polarity.neg", lines("bad {}"))
    assert texts_of(load_labelled("mr", tmp_path))[:2] == ["café one two", "good 0"]


def test_sst_keeps_quotes_and_reads_its_three_files(tmp_path):
    for split, count in (("train", 3), ("dev", 2), ("test", 1)):
        write(tmp_path, f"SST/binary/sentiment-{split}", lines(f'"{split} {{}}  one \t1', count) + "two\t0\n")
    labelled = load_labelled("sst2", tmp_path)
    assert texts_of(labelled, "dev") == ['"dev 0 one', '"dev 1 one', "two"]
    assert labelled.splits["train"].labels.tolist() == [1, 1, 1, 0]


def test_trec_takes_the_coarse_label_and_drops_the_fine_one(tmp_path):
    names = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    train = "".join(lines(f"{name}:fine What : is {{}} ?") for name in reversed(names))
    write(tmp_path, "TREC/train_5500.label", train)
    write(tmp_path, "TREC/TREC_10.label", b"NUM:dist How far \xf0 ?\nABBR:exp What is C : D ?\n")
    labelled = load_labelled("trec", tmp_path)
    assert texts_of(labelled, "test") == ["How far ð ?", "What is C : D ?"]
    assert labelled.splits["test"].labels.tolist() == [5, 0]
    assert labelled.splits["train"].labels.tolist() == [label for label in (5, 4, 3, 2, 1, 0) for _ in range(12)]


def test_mrpc_skips_its_byte_order_mark_and_header_and_gives_pairs(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    rows = lines('1\t7\t8\t"A {0}\tB "{0}') + lines("0\t7\t8\tC {}\tD")
    for split in ("train", "test"):
        write(tmp_path, f"MRPC/msr_paraphrase_{split}.txt", header + rows)
    labelled = load_labelled("mrpc", tmp_path)
    assert labelled.splits["train"].texts[12] == ("C 0", "D")
    assert texts_of(labelled, "test")[1] == '"A 1 | B "1'
    assert labelled.splits["test"].labels.tolist() == [1] * 12 + [0] * 12
    assert labelled.positive == "1"


def test_faults_of_all_files_are_told_in_one_error(tmp_path):
    write(tmp_path, "SST/binary/sentiment-train", "good\t1\nbad\n\t0\n")
    write(tmp_path, "SST/binary/sentiment-dev", b"good\t2\ncaf\xe9\t1\n")
    with pytest.raises(InputError) as caught:
        load_labelled("sst2", tmp_path)
    message = str(caught.value)
    for part in (
        "sst2 cannot be read as it is",
        "sentiment-train:2: 1 tab-separated column(s) where 2 are needed",
        "sentiment-train:3: a sentence is empty",
        "sentiment-dev:2: not UTF-8: byte 0xe9",
        "sentiment-test: no such file",
    ):
        assert part in message


def test_a_label_that_is_not_allowed_is_told_with_those_that_are(tmp_path):
    write(tmp_path, "TREC/train_5500.label", "DESC:manner How ?\nANIMAL:cat What ?\nHUM What ?\nHUM:ind\n")
    write(tmp_path, "TREC/TREC_10.label", "num:date When ?\n")
    with pytest.raises(InputError) as caught:
        load_labelled("trec", tmp_path)
    message = str(caught.value)
    for part in (
        "train_5500.label:2: label 'ANIMAL'; allowed is ABBR, DESC, ENTY, HUM, LOC, NUM",
        "train_5500.label:3: 'HUM What ?' is not `COARSE:fine sentence`",
        "train_5500.label:4: 'HUM:ind' is not `COARSE:fine sentence`",
        "TREC_10.label:1: label 'num'",
    ):
        assert part in message
    assert "train_5500.label:1" not in message


def test_a_single_class_is_refused_with_the_place(tmp_path):
    for split in ("train", "dev", "test"):
        write(tmp_path, f"SST/binary/sentiment-{split}", lines("good {}\t1"))
    with pytest.raises(
        InputError, match=r"sst2 train: examples of each class: 0 of '0', 12 of '1'; .*read from .*SST/binary"
    ):
        load_labelled("sst2", tmp_path)


@pytest.mark.parametrize("below", ["", "downstream", "data/downstream", "senteval"])
def test_the_data_folder_may_be_the_archive_or_what_holds_it(tmp_path, below):
    write(tmp_path / below, "MPQA/mpqa.pos", lines("a {}"))
    write(tmp_path / below, "MPQA/mpqa.neg", lines("b {}"))
    assert len(load_labelled("mpqa", tmp_path).splits["train"]) == 24


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("SST-2", r"unknown transfer task: 'SST-2'. Did you mean 'sst2'\? Allowed: mr, cr, .*, mrpc"),
        ("stsb", r"unknown transfer task: 'stsb'."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(task, message):
    with pytest.raises(InputError, match=message):
        load_labelled(task, None)


def test_without_a_data_folder_the_error_says_how_to_give_one(tmp_path):
    with pytest.raises(InputError, match=r"'mr' needs its data: .*MR/.*--data-dir FOLDER or in STSWEEP_DATA"):
        load_labelled("mr", None)
    with pytest.raises(InputError, match=r"'sst2': there is no folder .*SST/binary; --data-dir or STSWEEP_DATA"):
        load_labelled("sst2", tmp_path)


def test_reading_the_tasks_loads_no_scikit_learn():
    code = "import sys, evaluation.transfer; assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
