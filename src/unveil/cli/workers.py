"""Workers at hand, as the shell is told of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from unveil.batch.workers import Workers


@contextmanager
def gathered(workers: Workers) -> Iterator[None]:
    """Have workers at hand for as long as the block runs; says what the cluster is."""
    with workers.gathered() as cluster:
        if cluster is not None:
            print(f"Ray: {cluster}")
        yield
