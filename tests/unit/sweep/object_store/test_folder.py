"""A folder and its copy under file://: numbered, whole, fenced; what a killed writer leaves changes nothing."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.files import disk_fault
from sweep.object_store.folder import DamagedError, Fenced, SharedFolder
from sweep.object_store.store import Store, open_store, patiently

BIG = bytes(range(256)) * 1024
"""No text, so that it is an object of its own."""


@pytest.fixture
def store(tmp_path) -> Store:
    (tmp_path / "there").mkdir()
    return open_store(f"file://{tmp_path}/there").folder("s", "trained")


def writer(tmp_path: Path, store: Store, number: int, name: str = "writer") -> SharedFolder:
    (tmp_path / name).mkdir(exist_ok=True)
    folder = SharedFolder(tmp_path / name, store)
    folder.claim(number)
    folder.pull()
    return folder


def fill(folder: SharedFolder, **files: bytes | str) -> None:
    for path, content in files.items():
        file = folder.local / path.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def seen(tmp_path: Path, store: Store, **arguments) -> dict[str, bytes]:
    """What another machine gets."""
    folder = SharedFolder(tmp_path / "reader", store)
    folder.pull(**arguments)
    return {
        file.relative_to(folder.local).as_posix(): file.read_bytes()
        for file in folder.local.rglob("*")
        if file.is_file() and not file.name.startswith(".")
    }


def names(store: Store, kind: str = "") -> set[str]:
    return {each.name for each in store.objects() if each.name.startswith(kind)}


def test_another_machine_gets_every_file_as_it_is(tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, rows_jsonl="{}\n", checkpoint__state_pt=BIG, checkpoint__manifest_json="{}")
    mine.push()
    assert seen(tmp_path, store) == {
        "rows.jsonl": b"{}\n",
        "checkpoint/state.pt": BIG,
        "checkpoint/manifest.json": b"{}",
    }
    fill(mine, rows_jsonl="{}\n{}\n", checkpoint__state_pt=BIG[::-1])
    (mine.local / "checkpoint" / "manifest.json").unlink()
    mine.push()
    assert seen(tmp_path, store) == {"rows.jsonl": b"{}\n{}\n", "checkpoint/state.pt": BIG[::-1]}


def test_what_has_not_changed_is_not_sent_again_and_what_was_replaced_goes(tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, rows_jsonl="1\n", big=BIG)
    mine.push()
    first = names(store, "object")
    fill(mine, rows_jsonl="2\n")
    mine.push()
    assert names(store, "object") == first
    assert len(names(store, "manifest")) == 1
    fill(mine, big=BIG[::-1])
    mine.push()
    assert len(names(store, "object")) == 1
    assert names(store, "object") != first
    before = names(store)
    mine.push()
    assert names(store) == before, "nothing has changed, nothing is written"


def test_a_folder_that_becomes_empty_is_gone_elsewhere_too(tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, checkpoint__big=BIG, rows_jsonl="1\n")
    mine.push()
    assert seen(tmp_path, store).keys() == {"checkpoint/big", "rows.jsonl"}
    (mine.local / "checkpoint" / "big").unlink()
    mine.push()
    assert seen(tmp_path, store).keys() == {"rows.jsonl"}
    assert not (tmp_path / "reader" / "checkpoint").exists()


def test_a_large_file_that_nobody_needs_stays_away_and_an_old_one_goes(tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, encoder__big=BIG, rows_jsonl="1\n")
    mine.push()

    def small(path: str) -> bool:
        return not path.startswith("encoder/")

    assert seen(tmp_path, store, wanted=small) == {"rows.jsonl": b"1\n"}
    assert seen(tmp_path, store)["encoder/big"] == BIG, "asked for later, it comes"
    assert seen(tmp_path, store, wanted=small)["encoder/big"] == BIG, "it has not changed, so it stays"
    fill(mine, encoder__big=BIG[::-1])
    mine.push()
    assert seen(tmp_path, store, wanted=small) == {"rows.jsonl": b"1\n"}


def test_a_writer_that_was_cut_off_and_writes_on_changes_nothing(tmp_path, store):
    old = writer(tmp_path, store, 1, "old")
    fill(old, rows_jsonl="1\n", big=BIG)
    old.push()
    new = writer(tmp_path, store, 2, "new")
    fill(old, rows_jsonl="1\nof the old\n", big=BIG[::-1])
    with pytest.raises(Fenced, match="newer writer"):
        old.push()
    fill(new, rows_jsonl="1\nof the new\n")
    new.push()
    expected = {"rows.jsonl": b"1\nof the new\n", "big": BIG}
    assert seen(tmp_path, store) == expected, "the object that both use is there"
    with pytest.raises(Fenced):
        fill(old, rows_jsonl="again\n")
        old.push()
    assert seen(tmp_path, store) == expected
    new.push()
    fill(new, more="x")
    new.push()
    assert len(names(store, "manifest")) == len(names(store, "object")) == 1, "what the old one left is swept away"


def test_however_two_writers_take_turns_the_newer_one_s_manifest_names_what_is_there(tmp_path):
    """Every call into the store is a step; which of the two goes next is drawn, 6 times anew."""
    for seed in range(6):
        folder = tmp_path / str(seed)
        (folder / "there").mkdir(parents=True)
        store = open_store(f"file://{folder}/there").folder("s", "trained")
        old = writer(folder, store, 1, "old")
        fill(old, rows_jsonl="1\n", big=BIG, other=BIG + b"!")
        old.push()

        def go_on(old: SharedFolder = old) -> None:
            for content in (BIG[::-1], BIG + b"?"):
                fill(old, big=content)
                old.push()

        def take_over(folder: Path = folder, store: Store = store) -> None:
            new = writer(folder, store, 2, "new")
            fill(new, rows_jsonl="of the new\n")
            new.push()

        faults = take_turns(random.Random(seed), store, go_on, take_over)
        assert all(isinstance(fault, Fenced) for fault in faults), faults
        whole = seen(folder, store)
        assert whole["rows.jsonl"] == b"of the new\n"
        assert whole["big"] in (BIG, BIG[::-1], BIG + b"?")
        assert whole["other"] == BIG + b"!"


def take_turns(draw: random.Random, store: Store, *actions: Callable[[], None]) -> list[Exception]:
    """Run the actions as threads of which one is awake at a time, until the next call into the file system."""
    turns = [threading.Semaphore(0) for _ in actions]
    ended, faults = threading.Semaphore(0), []
    running = set(range(len(actions)))
    mine = threading.local()

    def give_turn() -> None:
        if running:
            turns[draw.choice(sorted(running))].release()
        else:
            ended.release()

    def run(place: int) -> None:
        turns[place].acquire()
        mine.place = place
        try:
            actions[place]()
        except Exception as fault:
            faults.append(fault)
        running.discard(place)
        give_turn()

    class Stepping:
        def __getattr__(self, name: str):
            def step(*arguments, **options):
                if hasattr(mine, "place"):
                    give_turn()
                    turns[mine.place].acquire()
                return getattr(inner, name)(*arguments, **options)

            return step

    inner = store.filesystem
    object.__setattr__(store, "filesystem", Stepping())
    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(actions))]
    for thread in threads:
        thread.start()
    give_turn()
    ended.acquire()
    object.__setattr__(store, "filesystem", inner)
    return faults


def test_a_manifest_of_which_a_killed_writer_left_a_part_is_not_there(tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, rows_jsonl="1\n", big=BIG)
    mine.push()
    (manifest,) = names(store, "manifest")
    text = store.read(manifest)
    store.write("manifest-000000000001-000002.json", text[: len(text) // 2])
    assert seen(tmp_path, store) == {"rows.jsonl": b"1\n", "big": BIG}
    next_one = writer(tmp_path, store, 2, "next")
    fill(next_one, rows_jsonl="1\n2\n")
    next_one.push()
    assert seen(tmp_path, store)["rows.jsonl"] == b"1\n2\n"
    assert len(names(store, "manifest")) == 1


@pytest.mark.parametrize("how", ["cut", "altered", "gone"])
def test_an_object_that_is_not_what_its_manifest_says_is_named(how, tmp_path, store):
    mine = writer(tmp_path, store, 1)
    fill(mine, checkpoint__weights=BIG)
    mine.push()
    (object_,) = names(store, "object")
    if how == "gone":
        store.remove([object_])
    else:
        store.write(object_, BIG[:-1] if how == "cut" else BIG[:-1] + b"?")
    with pytest.raises(DamagedError, match="checkpoint/weights") as error:
        seen(tmp_path, store)
    assert str(store.path) in str(error.value)
    assert not (tmp_path / "reader" / "checkpoint" / "weights").exists()


def test_a_disk_that_is_full_is_said_to_be_so_at_once(tmp_path, store, monkeypatch):
    """The store's own is a folder too, under file://; nobody waits for it."""

    def full(file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    mine = writer(tmp_path, store, 1)
    fill(mine, rows_jsonl="1\n")
    monkeypatch.setattr("sweep.object_store.store.sync", full)
    with pytest.raises(OSError, match="No space left") as error:
        patiently(mine.push, 60)
    assert disk_fault(error.value) == "a disk's fault: No space left on device"
