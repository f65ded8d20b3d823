"""The groups of a video while it runs, their keys in a file: memory hardly grows with the frames.

At 256 groups of 384 channels for every eight frames the mean keys take 24.6 kB a frame, 2 GB an
hour, and the glimpses 6 kB: far more than all else that is kept of a group. Both are written as
they come, to files without a name that are gone with the process, and read where they lie, as what
is kept of the keys beside a result is (`fast.evidence`).
"""

import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unveil.errors import InputError
from unveil.fast.evidence import records
from unveil.fast.groups import Groups, join
from unveil.files import output_errors


class Spool:
    """Takes the groups of one block after the other.

    folder: where there is room for the keys; None: the system's temporary folder. Raises
    OutputError where they cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._keys, self._glimpses = _Rows(folder), _Rows(folder)
        self._blocks: list[Groups] = []

    def add(self, block: Groups) -> None:
        """Take the groups of the next frames; their keys and glimpses are let go of."""
        self._keys.add(records(block))
        if block.glimpses is not None:
            self._glimpses.add(block.glimpses.numpy())
        nothing = block.keys.new_zeros(1, 1).expand(len(block), 1)
        self._blocks.append(replace(block, keys=nothing, glimpses=None))

    def join(self) -> tuple[Groups, np.ndarray]:
        """The groups of all frames taken, and the records of `Evidence.keys`, on the disk.

        Raises InputError when there were none.
        """
        if not self._blocks:
            raise InputError("no frames to group")
        kept, glimpses = self._keys.read(), self._glimpses.read()
        groups = replace(join(self._blocks), keys=torch.from_numpy(kept["key"]))
        if len(glimpses) == len(self._blocks):  # else some came without their frames
            groups = replace(groups, glimpses=torch.from_numpy(glimpses))
        return groups, kept


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
        self._none = rows[:0]

    def read(self) -> np.ndarray:
        """All rows, where they lie; nothing can be added any more."""
        with output_errors(self._folder):
            self._file.flush()
            rows = self._none
            if self._file.tell():
                rows = np.memmap(self._file, rows.dtype, mode="c").reshape(-1, *rows.shape[1:])
        self._close()  # what is mapped stays
        return rows
