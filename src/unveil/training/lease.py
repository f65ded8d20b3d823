"""Which files of a cache a run reads, said to the others, so that none of them removes these.

A lease is a list of names, `ID.lease`, and beside it a lock that the run holds for as long as it
lives. The system lets go of the lock however the process ends, so a list whose lock can be had is
that of a run that is gone.
"""

import uuid
import weakref
from pathlib import Path

from filelock import FileLock, Timeout

_SUFFIX = ".lease"


class Lease:
    """The files of a folder that this process reads, until it ends or lets go of the lease."""

    def __init__(self, folder: Path) -> None:
        self._list = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        self._lock = FileLock(_lock_of(self._list))
        self._end = weakref.finalize(self, _end, self._list, self._lock)

    def add(self, file: Path) -> None:
        """Keep a file of the folder; call it while the file cannot be removed yet."""
        if not self._lock.is_locked:
            self._lock.acquire()
        with self._list.open("a", encoding="utf-8") as names:
            names.write(file.name + "\n")

    def release(self) -> None:
        """Let go of all files."""
        self._end()


def _end(names: Path, lock: FileLock) -> None:
    names.unlink(missing_ok=True)
    if lock.is_locked:
        lock.release()
        _lock_of(names).unlink(missing_ok=True)


def leased(folder: Path) -> set[str]:
    """Names of the files that living runs read; the lists of those that are gone are removed."""
    names: set[str] = set()
    for file in folder.glob(f"*{_SUFFIX}"):
        lock = FileLock(_lock_of(file))
        try:
            with lock.acquire(blocking=False):
                file.unlink(missing_ok=True)
            _lock_of(file).unlink(missing_ok=True)
        except Timeout:
            names.update(_read(file))
    return names


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []  # its run has just ended


def _lock_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.lock")
