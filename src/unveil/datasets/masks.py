"""Masks and frames from image files, as strict about what they hold as a score has to be."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.errors import DataError, InputError
from unveil.metrics.overlap import VOID
from unveil.results.palette import davis_palette
from unveil.video.images import read_image
from unveil.video.listing import images_in


def read_labels(path: Path) -> np.ndarray:
    """The ids in one mask file, uint8 or uint16 [H, W].

    Palette and grey masks hold ids as they are; RGB masks must be painted in the DAVIS palette.
    Raises DataError for colours that are not in it, floating point numbers, and broken files.
    """
    try:
        with Image.open(path) as image:
            if (pictures := getattr(image, "n_frames", 1)) > 1:
                raise DataError(f"{path} holds {pictures} pictures: write a file for each mask")
            mode, labels = image.mode, np.array(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such mask") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a mask ({error}): replace it") from error
    if mode == "F":
        raise DataError(f"{path} holds floating point numbers: a mask holds whole ids")
    if mode in ("P", "L"):
        return labels
    if mode == "1":
        return labels.astype(np.uint8)
    if mode.startswith("I"):
        if labels.min() < 0 or labels.max() > np.iinfo(np.uint16).max:
            raise DataError(f"{path} holds ids outside 0 … 65535: write 8 or 16 bits a pixel")
        return labels.astype(np.uint16)
    if mode in ("RGB", "RGBA"):
        return _from_colours(labels[..., :3], path)
    raise DataError(f"{path} is a {mode} image: write masks as palette or grey PNG")


def read_stack(paths: Iterable[Path]) -> np.ndarray:
    """The ids of several masks, uint8 or uint16 [T, H, W]. Raises DataError where sizes differ."""
    masks, first = [], None
    for path in paths:
        mask = read_labels(path)
        first = first or (path, mask.shape)
        if mask.shape != first[1]:
            raise DataError(
                f"{path} is {_size(mask.shape)}, but {first[0].name} is {_size(first[1])}"
            )
        masks.append(mask)
    return np.stack(masks)


def read_frames(paths: Iterable[Path]) -> np.ndarray:
    """Several pictures, uint8 [T, H, W, 3]. Raises DataError where one is missing or differs."""
    frames: list[np.ndarray] = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: this frame is missing")
        try:
            frames.append(read_image(path))
        except InputError as error:
            raise DataError(str(error)) from error
        if frames[-1].shape != frames[0].shape:
            raise DataError(
                f"{path} is {_size(frames[-1].shape)}, the first frame {_size(frames[0].shape)}"
            )
    return np.stack(frames)


def unify_binary(labels: np.ndarray) -> np.ndarray:
    """Masks painted 0 and 255 as one object: where no other id occurs, 255 becomes 1."""
    highest = labels.max(initial=0)
    if highest != VOID or ((labels != 0) & (labels != VOID)).any():
        return labels
    return (labels == VOID).astype(np.uint8)


def as_truth(labels: np.ndarray, origin: Path) -> np.ndarray:
    """Labels as a ground truth, uint8. Raises DataError where there is no object, or too many."""
    ids = np.unique(labels)
    if ids[-1] > VOID:
        raise DataError(f"{origin}: id {ids[-1]} in a ground truth; at most {VOID - 1} can be used")
    if not ((ids > 0) & (ids != VOID)).any():
        raise DataError(f"{origin}: a sequence without ground truth, no mask holds an object")
    return labels.astype(np.uint8, copy=False)


def image_files(folder: Path) -> dict[str, Path]:
    """Stem → image file in a folder, in natural order; empty where there is no such folder.

    Raises DataError where two files have the same stem, of which a mask could be either's.
    """
    if not folder.is_dir():
        return {}
    named: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in named:
            raise DataError(
                f"{path} and {named[path.stem].name} have the same name: move one of them away"
            )
        named[path.stem] = path
    return named


def _from_colours(colours: np.ndarray, path: Path) -> np.ndarray:
    packed = _pack(colours)
    known = _packed_palette()
    at = np.searchsorted(known[0], packed).clip(max=255)
    wrong = known[0][at] != packed
    if wrong.any():
        y, x = (int(i[0]) for i in np.nonzero(wrong))
        raise DataError(
            f"{path} is painted in colours that are not in the DAVIS palette, first "
            f"{tuple(colours[y, x].tolist())} at row {y}, column {x}: write ids as a palette PNG"
        )
    return known[1][at]


@cache
def _packed_palette() -> tuple[np.ndarray, np.ndarray]:
    packed = _pack(davis_palette())
    order = np.argsort(packed)
    return packed[order], order.astype(np.uint8)


def _pack(colours: np.ndarray) -> np.ndarray:
    r, g, b = (colours[..., i].astype(np.uint32) for i in range(3))
    return (r << 16) | (g << 8) | b


def _size(shape: tuple[int, ...]) -> str:
    h, w = shape[:2]
    return f"{w}x{h}"
