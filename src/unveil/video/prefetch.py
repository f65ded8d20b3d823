"""Chunks of frames that are decoded while those before them are worked on, or side by side."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
MOST = 8
"""Threads that work side by side, where a machine has as many cores."""
LARGE = 100 << 20
"""Bytes of frames above which a chunk holds fewer of them: 16 frames of 1920x1080 are below."""
_LEAST = 4  # frames that the backbone takes at a time


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


def mapped(work: Callable[[S], T], items: Iterator[S], threads: int | None = None) -> Generator[T]:
    """What becomes of each item, in their order, several worked on at a time.

    work: what lets go of Python's lock for the most part, as decoders, encoders and tensors do.
    threads: one a core by default, at most MOST; so many items are alive at a time, and one more.
    What work raises is raised where its item was due. The threads end with the iteration.
    """
    threads = threads or min(MOST, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="unveil-mapped")
    coming: deque[Future[T]] = deque()
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
