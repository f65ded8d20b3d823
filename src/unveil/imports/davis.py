"""A folder of masks, one a frame, or the folders of DAVIS with one video."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unveil.datasets.masks import image_files, read_labels
from unveil.errors import DataError
from unveil.imports.tracks import Tracks
from unveil.metrics.overlap import VOID

_MASKS = ("Annotations_unsupervised/480p", "Annotations/480p")


def is_davis(place: Path) -> bool:
    """Whether a folder holds masks, or the folders of DAVIS."""
    return any((place / part).is_dir() for part in _MASKS) or bool(image_files(place))


def read_davis(place: Path, name: str | None = None) -> Tracks:
    """The masks of a folder: ids as palette, grey or painted PNGs; 255 of 8 bits is void.

    Masks of nothing but 0 and 255 show one object. name: of the video, where there are several.
    Raises DataError for masks that differ in size or hold no ids.
    """
    folder, pictures = _folders(place, name)
    files = image_files(folder)
    if not files:
        raise DataError(f"{folder} holds no masks: give a folder of PNGs, one a frame")
    size: tuple[int, ...] | None = None
    ids: set[int] = set()
    deep = False
    for path in files.values():
        labels = read_labels(path)
        size = size or labels.shape
        if labels.shape != size:
            h, w = labels.shape
            raise DataError(f"{path} is {w}x{h}, the first mask {size[1]}x{size[0]}")
        deep |= labels.dtype == np.uint16
        ids |= set(np.unique(labels).tolist())
    assert size is not None
    warnings: list[str] = []
    single = not deep and VOID in ids and ids <= {0, VOID}
    if VOID in ids and not deep and not single:
        warnings.append("pixels that the masks call void (255) are background here")
    dtype = np.uint16 if deep else np.uint8

    def read() -> Iterator[np.ndarray]:
        for path in files.values():
            labels = read_labels(path).astype(dtype)
            if not deep:
                labels[labels == VOID] = 1 if single else 0
            yield labels

    return Tracks(
        "DAVIS masks",
        folder.name if folder.name != "masks" else folder.parent.name,
        tuple(files),
        size[0],
        size[1],
        read,
        pictures=pictures,
        warnings=warnings,
    )


def _folders(place: Path, name: str | None) -> tuple[Path, Path | None]:
    """Where the masks lie, and where their pictures would."""
    root = next((place / part for part in _MASKS if (place / part).is_dir()), None)
    if root is None:
        return place, None
    there = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    chosen = only(there, name, place)
    return root / chosen, place / "JPEGImages/480p" / chosen


def only(there: list[str], name: str | None, place: Path) -> str:
    """The name that is meant. Raises DataError where it is not there, or others are too."""
    if name is None and len(there) == 1:
        return there[0]
    if name not in there:
        listed = ", ".join(there[:12]) + (" …" if len(there) > 12 else "")
        what = f"no video {name!r}" if name else f"{len(there)} videos"
        raise DataError(f"{place} has {what}: choose one with --name; it has {listed or 'none'}")
    return name
