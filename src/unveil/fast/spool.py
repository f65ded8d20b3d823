"""The groups of a video while it runs, their keys in a file: memory hardly grows with the frames.

At 256 groups of 384 channels for every eight frames the mean keys take 24.6 kB a frame, 2 GB an
hour, thirty times what all else that is kept of a group does. They are written as they come, to a
file without a name that is gone with the process, and read where they lie, as what is kept of them
beside a result is (`fast.evidence`).
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
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        with output_errors(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._close = weakref.finalize(self, self._file.close)
        self._blocks: list[Groups] = []
        self._kind = np.dtype([])

    def add(self, block: Groups) -> None:
        """Take the groups of the next frames; their keys are let go of."""
        kept = records(block)
        with output_errors(self._folder):
            self._file.write(kept.tobytes())
        self._kind = kept.dtype
        nothing = block.keys.new_zeros(1, 1).expand(len(block), 1)
        self._blocks.append(replace(block, keys=nothing))

    def join(self) -> tuple[Groups, np.ndarray]:
        """The groups of all frames taken, and the records of `Evidence.keys`, on the disk.

        Raises InputError when there were none.
        """
        if not self._blocks:
            raise InputError("no frames to group")
        with output_errors(self._folder):
            self._file.flush()
            kept = np.memmap(self._file, self._kind, mode="c")
        self._close()  # what is mapped stays
        return replace(join(self._blocks), keys=torch.from_numpy(kept["key"])), kept
