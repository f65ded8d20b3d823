"""The groups of a video while it runs, in files: memory hardly grows with the frames.

At 256 groups of 384 channels for every eight frames the mean keys take 24.6 kB a frame, 2 GB an
hour, the glimpses 6 kB, the ids of 1,008 patches 4 kB and all else 2 kB. All are written as they
come, to files without a name that are gone with the process, and read where they lie, as what
is kept of the keys beside a result is (`fast.evidence`). What is small goes there too: kept in
memory, it would lie between the large arrays that come and go, and leave gaps that cannot be used.
"""

import tempfile
import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from unveil.errors import InputError
from unveil.fast.evidence import records
from unveil.fast.groups import Groups
from unveil.files import output_errors

_NAMES = [field.name for field in fields(Groups)]


class Spool:
    """Takes the groups of one block after the other.

    folder: where there is room for them; None: the system's temporary folder. Raises
    OutputError where they cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._rows = {name: _Rows(folder) for name in _NAMES}
        self._groups = 0

    def add(self, block: Groups) -> None:
        """Take the groups of the next frames; nothing of them is held."""
        there = {name: getattr(block, name) for name in self._rows}
        there |= {"ids": block.ids + np.int32(self._groups), "keys": records(block)}
        # What some came without is kept of none.
        self._rows = {name: self._rows[name] for name, x in there.items() if x is not None}
        for name, rows in self._rows.items():
            rows.add(np.asarray(there[name]))
        self._groups += len(block)

    def join(self) -> tuple[Groups, np.ndarray]:
        """The groups of all frames taken, and the records of `Evidence.keys`, on the disk.

        Raises InputError when there were none.
        """
        if not self._groups:
            raise InputError("no frames to group")
        read = {name: rows.read() for name, rows in self._rows.items()}
        ids, kept = np.asarray(read.pop("ids")), read.pop("keys")
        joined = {name: torch.from_numpy(x) for name, x in read.items()}
        return Groups(ids, torch.from_numpy(kept["key"]), **joined), kept


class _Rows:
    """Rows of one kind, in a file of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with output_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._close = weakref.finalize(self, self._file.close)
        self._none = np.zeros(0)

    def add(self, rows: np.ndarray) -> None:
        with output_errors(self._folder):
            self._file.write(rows.tobytes())
        self._none = np.empty((0, *rows.shape[1:]), rows.dtype)

    def read(self) -> np.ndarray:
        """All rows, where they lie; nothing can be added any more."""
        with output_errors(self._folder):
            self._file.flush()
            rows = self._none
            if self._file.tell():
                rows = np.memmap(self._file, rows.dtype, mode="c").reshape(-1, *rows.shape[1:])
        self._close()  # what is mapped stays
        return rows
