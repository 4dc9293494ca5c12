"""SIGINT and SIGTERM, sent to this process: the first closes, the second or the end of the grace ends at once."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import pytest

from sweep.errors import Exit
from sweep.signals import Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_the_first_signal_closes_and_the_second_ends_at_once(number, code):
    closed: list[str] = []
    with Signals() as signals:
        signals.close = closed.append
        send(number)
        assert (len(closed), signals.exit) == (1, code)
        with pytest.raises(KeyboardInterrupt):
            send(number)
    assert len(closed) == 1
    assert signals.exit == code


def send_all_before_python_looks(*numbers: int) -> None:
    """As they come while the main thread waits in Ray: its handlers run after the wait, once for each number."""

    def to_another_thread() -> None:
        for number in numbers:
            signal.pthread_kill(threading.get_ident(), number)

    sender = threading.Timer(0.05, to_another_thread)
    sender.start()
    ctypes.CDLL(None).usleep(200_000)  # in C, without the interpreter's lock


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_two_signals_that_come_while_the_main_thread_waits_are_two(numbers):
    closed: list[str] = []
    with Signals() as signals:
        signals.close = closed.append
        with pytest.raises(KeyboardInterrupt):
            send_all_before_python_looks(*numbers)
        time.sleep(0.01)  # and the second is not taken again
    assert closed == ["interrupted"]
    assert signals.exit == Exit.INTERRUPTED


def test_one_signal_that_comes_while_the_main_thread_waits_is_one():
    closed: list[str] = []
    with Signals() as signals:
        signals.close = closed.append
        send_all_before_python_looks(signal.SIGTERM)
    assert closed == ["terminated"]


def test_signals_that_follow_the_second_do_not_disturb_the_end():
    with Signals() as signals:
        signals.close = lambda why: None
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        send(signal.SIGINT)
        signals.conclude()
        send(signal.SIGINT)


def test_the_code_is_that_of_the_first_signal():
    with Signals() as signals:
        signals.close = lambda why: None
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
    assert signals.exit == Exit.INTERRUPTED


def test_before_there_is_anything_to_save_one_signal_ends_at_once():
    with Signals() as signals, pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    assert signals.exit == Exit.INTERRUPTED


def test_the_end_of_the_grace_after_sigterm_ends_at_once(monkeypatch):
    monkeypatch.setenv("STSWEEP_GRACE_S", "1.2")  # a second of it is kept for the end
    with Signals() as signals:
        signals.close = lambda why: None
        send(signal.SIGTERM)
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)
        assert time.monotonic() - begin < 2


def test_a_signal_when_all_is_concluded_is_only_noted():
    with Signals() as signals:
        signals.conclude()
        send(signal.SIGTERM)
    assert signals.exit == Exit.TERMINATED


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Signals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
