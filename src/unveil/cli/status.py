"""`unveil status`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unveil.address import as_address
from unveil.cli.options import MAY_BE_ADDRESS
from unveil.cli.progress import clock, count
from unveil.errors import InputError

_LISTED = 20  # failed videos that are named one by one


@dataclass(frozen=True)
class Status:
    """Say how far a batch is: what is done, what fails and why, how long it will take."""

    out: Annotated[Path, tyro.conf.Positional, MAY_BE_ADDRESS]
    """The folder that was given to `unveil segment` as --out, or its address."""

    def run(self) -> int:
        """Read the ledger and say what it holds; 1 where a video failed."""
        from unveil.batch.ledger import LEDGER, is_running, read
        from unveil.batch.mirror import Mirror, place_of

        address = as_address(self.out)
        out = self.out if address is None else place_of(address)
        Mirror(out, address).fetch()
        if not (out / LEDGER).is_file():
            raise InputError(
                f"{address or out} is no folder of a batch: there is no {LEDGER} as 'unveil "
                "segment' of several videos writes it"
            )
        book, running = read(out), is_running(out)
        for line in described(book, time.time() if running else book.last, running):
            print(line)
        return 1 if book.failed else 0


_WORDS = {
    "running": "running",
    "again": "to be tried again",
    "waiting": "waiting",
    "failed": "failed",
}
"""States of a video that is not done, in words."""


def described(book: Any, now: float, running: bool) -> Iterator[str]:
    """The ledger in words, a line at a time. now: seconds since the epoch."""
    done = f"{book.states['done']} of {count(len(book.videos), 'video')} done"
    rest = [f"{book.states[s]} {word}" for s, word in _WORDS.items() if book.states[s]]
    yield ", ".join([done, *rest])
    left = book.states["running"] + book.states["again"] + book.states["waiting"]
    pace = f"{book.rate(now):.2f} frames a second"
    if running:
        seconds = book.seconds_left(now)
        pace += "" if seconds is None else f", about {clock(seconds)} left"
        yield f"at work since {clock(now - book.began)}: {pace}"
    elif left:
        yield f"nothing is at work here: the same command with --resume does the rest; {pace}"
    else:
        yield f"the last run took {clock(now - book.began)}: {pace}"
    for name, entry in book.videos.items():
        if running and entry.state == "running":
            where = f" on {entry.worker}" if entry.worker else ""
            yield f"  {name}: try {entry.tries}{where}, since {clock(now - entry.at)}"
    for name, why in list(book.failed.items())[:_LISTED]:
        yield f"  {name} failed: {why}"
    if len(book.failed) > _LISTED:
        yield f"  and {len(book.failed) - _LISTED} more that failed, see index.html"
