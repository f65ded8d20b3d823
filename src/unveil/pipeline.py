"""How stages run beside each other, and what each of them took."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
LARGE = 100 << 20
"""Bytes of frames above which a chunk holds fewer of them: 16 frames of 1920x1080 are below."""
_LEAST = 4  # frames that the backbone takes at a time

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, what is done and what there is to do (None where nobody knows)."""


def silent(stage: str, done: int, total: int | None) -> None:
    """The Progress of those who ask for none."""


def frames_at_once(chunk: int, height: int, width: int) -> int:
    """How many frames of height x width px to hold: `chunk`, or fewer of large ones, four at least.

    Some five chunks are alive at a time: decoded, worked on, and waiting to be written.
    """
    fit = LARGE // (3 * height * width)
    return min(chunk, max(_LEAST, fit - fit % _LEAST))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made in a thread while its user works on the one before.

    Two items are alive at a time. What making an item raises is raised where it was due. The
    thread ends with the iteration, also where that is broken off.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="unveil-ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


@dataclass
class Clock:
    """Seconds that the main thread spent in a stage, added up.

    Stages that run beside it (decoding, writing) count with what was waited for them, so the
    stages sum up to the time in all. now: the clock to read.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.perf_counter

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what happens in the block as a stage."""
        start = self.now()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self.now() - start

    def each(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The items, with the time that each took to come."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item


def peak_memory_mb() -> int:
    """The most memory that the process has held so far."""
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
