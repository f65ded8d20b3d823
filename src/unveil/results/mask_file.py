"""The masks of a video while it is written, in a file: memory hardly grows with the frames."""

import struct
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from unveil.results.coco import Mask

_RECORD = struct.Struct("<Iq4iI")  # frame, area, box, bytes of the run lengths that follow


class MaskFile(Mapping[int, dict[int, Mask]]):
    """Takes the masks of one frame after the other; then id → frame index → mask, an id at a time.

    folder: where a file without a name may lie until it is closed. Kept in memory are eight bytes
    a mask.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[int, array[int]] = {}

    def add(self, frame: int, masks: Mapping[int, Mask]) -> None:
        """Take the masks of a frame; ids and frames were not there before."""
        for id, mask in masks.items():
            self._places.setdefault(id, array("q")).append(self._file.tell())
            self._file.write(_RECORD.pack(frame, mask.area, *mask.box, len(mask.counts)))
            self._file.write(mask.counts)

    def __getitem__(self, id: int) -> dict[int, Mask]:
        """The masks of an object by their frames; nothing can be added any more."""
        found = {}
        for place in self._places[id]:
            self._file.seek(place)
            frame, area, x, y, w, h, size = _RECORD.unpack(self._file.read(_RECORD.size))
            found[frame] = Mask(self._file.read(size), area, (x, y, w, h))
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
