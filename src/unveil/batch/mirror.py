"""What a batch at an address keeps here, and puts there: its ledger, its pages, the logs.

A storage of objects cannot be appended to. So the ledger is kept in a folder of this machine and
copied to the address every half minute and at the end. A driver elsewhere goes on from the copy;
what the copy lacks is seen by its run.json.
"""

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from unveil.batch import storage
from unveil.batch.ledger import LEDGER, Book
from unveil.batch.run import LOGS
from unveil.features.weights import home

EVERY = 30.0
"""Seconds between copies of the ledger."""


def place_of(address: str) -> Path:
    """The folder of this machine that goes with an address."""
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    return home() / "batches" / name


@dataclass
class Mirror:
    """Copies what lies in `place` to `address`; does nothing where there is none."""

    place: Path
    address: str | None
    _last: float = field(default_factory=time.monotonic)

    def fetch(self) -> None:
        """The ledger of an earlier run from another machine, where this one has none."""
        if self.address is not None and not (self.place / LEDGER).exists():
            self.place.mkdir(parents=True, exist_ok=True)
            storage.get(f"{self.address}/{LEDGER}", self.place / LEDGER)

    def now_and_then(self) -> None:
        """Copy the ledger if it was not for half a minute."""
        if self.address is not None and time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            storage.put(self.place / LEDGER, f"{self.address}/{LEDGER}")

    def finish(self, book: Book) -> None:
        """Copy the ledger, the pages, and the logs of what failed."""
        if self.address is None:
            return
        logs = [self.place / LOGS / f"{name}.log" for name in book.failed]
        for file in (self.place / LEDGER, *self.place.glob("index*.html"), *logs):
            if file.is_file():
                storage.put(file, f"{self.address}/{file.relative_to(self.place).as_posix()}")
