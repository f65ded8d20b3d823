"""Chunks of frames that are decoded while those before them are worked on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
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
