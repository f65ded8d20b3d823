"""Stages beside each other: in order, no further ahead than said, errors where they are due."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from unveil.timing import Clock, peak_memory_mb
from unveil.video.prefetch import ahead, frames_at_once


def threads() -> int:
    return sum("unveil-ahead" in thread.name for thread in threading.enumerate())


def test_items_come_in_order_and_at_most_one_waits():
    made = []

    def items():
        for i in range(7):
            made.append(i)
            yield i

    for i in ahead(items()):
        time.sleep(0.01)
        assert len(made) <= i + 2
    assert made == list(range(7))
    assert list(ahead(iter(()))) == []


def test_an_item_is_made_while_the_one_before_is_worked_on():
    meet = threading.Barrier(2, timeout=10)

    def items():
        yield 0
        meet.wait()  # passes only if the user is at work on item 0
        yield 1

    for i in ahead(items()):
        if i == 0:
            meet.wait()


def test_an_error_is_raised_where_it_was_due_and_the_thread_ends():
    def items():
        yield 0
        raise ValueError("broken frame")

    got = []
    with pytest.raises(ValueError, match="broken frame"):
        got.extend(ahead(items()))
    assert threads() == 0


def test_breaking_off_ends_the_thread():
    some = ahead(iter(range(1000)))
    assert next(some) == 0
    assert threads() == 1
    some.close()
    assert threads() == 0


def test_a_clock_adds_up_what_its_stages_took():
    clock = Clock()
    for _ in range(2):
        with clock("a"):
            time.sleep(0.02)
    with pytest.raises(KeyError), clock("b"):
        raise KeyError
    assert list(clock.each("c", iter([1, 2]))) == [1, 2]
    assert list(clock.seconds) == ["a", "b", "c"]
    assert clock.seconds["a"] >= 0.04 > clock.seconds["b"]


@pytest.mark.parametrize(
    ("chunk", "size", "want"),
    [(16, (480, 854), 16), (16, (1080, 1920), 16), (16, (2160, 3840), 4), (3, (4320, 7680), 3)],
)
def test_fewer_large_frames_are_held(chunk, size, want):
    assert frames_at_once(chunk, *size) == want


def test_memory_is_told_in_megabytes(monkeypatch):
    assert 10 < (peak_memory_mb() or 0) < 100_000

    def no_proc(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_proc)  # as on a Mac
    assert 10 < (peak_memory_mb() or 0) < 100_000
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory_mb() is None


@pytest.mark.skipif(sys.platform != "linux", reason="getrusage of others counts one process alone")
def test_memory_is_that_of_the_process_alone():
    held = np.ones(200 << 20, np.uint8)  # a child began with the peak of who starts it
    code = "from unveil.timing import peak_memory_mb; print(peak_memory_mb())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < int(said.stdout) < 150 and held.nbytes >> 20 == 200
