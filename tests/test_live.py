"""A source that does not wait, on a clock that the tests move."""

import threading

import numpy as np
import pytest

from unveil.errors import InputError
from unveil.segmentation.segmenter import Segmenter
from unveil.segmentation.stream import in_blocks
from unveil.video.live import Live


def numbered(i: int) -> np.ndarray:
    return np.full((2, 3, 3), i % 256, np.uint8)


class Simulated(Live):
    """A camera of 25 frames a second and work that takes its time, without a thread or waiting."""

    def __init__(self, seconds: float, work: float, room: int = 8) -> None:
        super().__init__((), room, now=lambda: self.time)
        self.time, self.come, self.work, self.last = 0.0, 0, work, int(25 * seconds)

    def until(self, moment: float) -> None:
        while self.come < self.last and self.come / 25 <= moment:
            self.time = self.come / 25
            self.put(numbered(self.come))
            self.come += 1
        self.time = max(self.time, moment)
        self._ended = self.come == self.last

    def __iter__(self):
        while True:
            if not self._waiting:
                self.until(self.come / 25)
            if (frame := self.take()) is None:
                return
            yield frame

    def run(self) -> tuple[list[int], list[float], int]:
        """First number of each block, its delay, and the most frames that were ever held."""
        firsts, delays, held = [], [], 0
        for block in in_blocks(self):
            self.until(self.time + self.work * len(block))
            firsts.append(int(block[0, 0, 0, 0]))
            assert np.ptp(np.diff(block[:, 0, 0, 0].astype(int)) % 256) == 0
            delays.append(self.delay(len(block)))
            held = max(held, len(self._waiting) + len(self._out))
        return firsts, delays, held


def test_who_is_fast_enough_gets_every_frame():
    live = Simulated(10, work=0.03)
    firsts, delays, _ = live.run()
    assert live.dropped == 0 and firsts == [i % 256 for i in range(0, 250, 8)]
    assert max(delays) < 8 / 25 + 8 * 0.03 + 1e-6


@pytest.mark.parametrize("work", [0.1, 0.3, 2.0])
def test_who_is_too_slow_gets_the_newest_and_is_never_later_than_one_block(work):
    live = Simulated(60, work)
    _, delays, held = live.run()
    assert live.dropped > 0 and held <= 8
    assert max(delays[:-2]) <= 2 * 8 / 25 + 8 * work + 1e-6  # the last ones wait without a rival


def test_what_is_held_and_how_late_it_is_do_not_grow():
    live = Simulated(1200, work=0.6)
    _, delays, held = live.run()
    assert held <= 8 and max(delays[-50:-2]) <= max(delays[:50]) + 1e-6
    assert live.dropped + 8 * len(delays) >= 25 * 1200


def test_frames_come_through_the_thread_and_may_share_memory():
    buffer = np.zeros((2, 3, 3), np.uint8)

    def camera():
        for i in range(20):
            buffer[:] = i
            yield buffer

    live = Live(camera(), room=20)
    assert [int(frame[0, 0, 0]) for frame in live] == list(range(20))
    assert live.delay(20) >= 0


def test_what_the_source_raises_comes_after_the_frames_before_it():
    def camera():
        yield numbered(1)
        raise OSError("unplugged")

    frames = iter(Live(camera()))
    assert next(frames)[0, 0, 0] == 1
    with pytest.raises(OSError, match="unplugged"):
        next(frames)


def test_the_thread_ends_with_the_iteration():
    go = threading.Event()

    def camera():
        yield numbered(0)
        go.wait(5)
        yield numbered(1)
        raise AssertionError("read on after the iteration had ended")

    frames = iter(Live(camera()))
    next(frames)
    frames.close()
    go.set()
    for thread in threading.enumerate():
        if thread.name == "unveil-live":
            thread.join(5)
            assert not thread.is_alive()


def test_a_stream_of_it(tiny_backbone):
    frames = np.random.default_rng(0).integers(0, 256, (9, 17, 23, 3), dtype=np.uint8)
    live = Live(iter(frames), room=9)
    segmenter = Segmenter(backbone=tiny_backbone, size=16, precision="fp32", speed="balanced")
    seen = [f for f, _ in segmenter.stream(live) if live.delay(len(f)) >= 0]
    assert np.array_equal(np.concatenate(seen), frames) and live.dropped == 0


def test_no_room_and_delays_of_frames_never_shown():
    with pytest.raises(InputError, match="room: expected at least 1 frame, got 0"):
        Live((), room=0)
    with pytest.raises(InputError, match="frames: expected"):
        Live(()).delay(1)
