"""An annotated video, and a named collection of them; both read nothing before they are asked."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from unveil.errors import DataError


@runtime_checkable
class Sequence(Protocol):
    """One annotated video. Its methods read; they raise DataError naming the file that fails."""

    @property
    def name(self) -> str:
        """What the folder of its predictions is called."""

    @property
    def note(self) -> str:
        """What a reader of its scores has to know, such as that masks are approximate; or empty."""

    def frame_names(self) -> tuple[str, ...]:
        """One stem a frame, after which masks are named."""

    @property
    def video_id(self) -> int | None:
        """Its number in a YouTube-VIS file, by which lists of results name it; None elsewhere."""

    @property
    def origin(self) -> Path:
        """The file or folder that its annotation comes from, for messages."""

    def frame_files(self) -> tuple[Path, ...]:
        """The files that its pictures are read from, there or not."""

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]: 0 background, 255 void, any other number an object."""


S = TypeVar("S", bound=Sequence, covariant=True)


@dataclass(frozen=True)
class Dataset(Generic[S]):
    """Sequences under one name.

    name: as `unveil evaluate` takes it. split: which of its lists was read, in words.
    """

    name: str
    root: Path
    split: str
    sequences: tuple[S, ...]

    def __post_init__(self) -> None:
        if not self.sequences:
            raise DataError(f"{self.root}: {self.name} has no sequences here ({self.split})")

    def select(self, names: Iterable[str]) -> "Dataset[S]":
        """Only these sequences, in this order. Raises DataError for one that is not there."""
        known = {s.name: s for s in self.sequences}
        names = list(dict.fromkeys(names))
        strange = [name for name in names if name not in known]
        if strange:
            raise DataError(
                f"{self.name} at {self.root} has no sequence {', '.join(strange)} in {self.split}; "
                f"it has {', '.join(list(known)[:12])}{' …' if len(known) > 12 else ''}"
            )
        return replace(self, sequences=tuple(known[name] for name in names))


@dataclass(frozen=True)
class Finding:
    """One line of a check: what was looked for, where, whether it is there, and what to do."""

    what: str
    path: Path
    ok: bool
    advice: str = ""
