"""What stages took, in seconds and in memory."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


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


def peak_memory_mb() -> int | None:
    """The most memory that the process has held so far; None on Windows, which does not say."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        # getrusage of Linux counts what the process held that started this one, too.
        for line in file:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
