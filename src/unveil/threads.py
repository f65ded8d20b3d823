"""Threads of torch, shared out where several of Python's work side by side."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def shared_threads(workers: int) -> Iterator[None]:
    """Give each of so many threads that are begun inside its share of torch's, at least one."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
