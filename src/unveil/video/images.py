"""Sequences of image files: a folder, a glob pattern, or one picture, in natural order."""

import re
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from unveil.errors import InputError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
_ORIENTATION = 0x0112  # EXIF tag; values from 5 on swap height and width


def find_images(source: Path) -> list[Path] | None:
    """The images that source names, in natural order; None where source is something else.

    source: a folder, a glob pattern, or one image file. Raises InputError where it names none.
    """
    if source.is_dir():
        files = [p for p in source.iterdir() if _is_image(p)]
        if not files:
            raise InputError(f"no images in {source}{_hint(source)}; {_known()}")
    elif source.is_file():
        if not _is_image(source):
            return None
        files = [source]
    elif has_magic(str(source)):
        matches = [Path(p) for p in glob(str(source), recursive=True)]
        files = [p for p in matches if _is_image(p)]
        if not files:
            what = f"only other files ({matches[0]})" if matches else "nothing"
            raise InputError(f"the pattern {source} matches {what}; {_known()}")
    else:
        return None
    return sorted(files, key=_natural)


def check_images(files: Sequence[Path]) -> tuple[int, int]:
    """The height and width that all images share. Raises InputError where they differ.

    Reads headers only, so that a folder of thousands is refused before the work begins.
    """
    stems: dict[str, Path] = {}
    first: tuple[int, int] | None = None
    for path in files:
        if path.stem in stems:
            raise InputError(
                f"{stems[path.stem]} and {path} have the same name, so their masks would "
                "overwrite each other: name one of them, or choose with a pattern such as '*.jpg'"
            )
        stems[path.stem] = path
        size = _size(path)
        first = first or size
        if size != first:
            raise InputError(
                f"frames differ in size: {files[0]} is {first[1]}x{first[0]}, {path} is "
                f"{size[1]}x{size[0]}; scale them to one size or choose with a pattern"
            )
    if first is None:
        raise InputError("no images to check")
    return first


def read_image(path: Path) -> np.ndarray:
    """One image as uint8 [H, W, 3] RGB, upright by its EXIF tag; transparency is dropped."""
    try:
        with Image.open(path) as image:
            return _rgb(ImageOps.exif_transpose(image), path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InputError(f"{path} cannot be read as an image ({e}): replace or remove it") from e


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits a pixel, however the file calls it
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise InputError(f"{path} holds more than 16 bits a pixel: convert it to 8 bits")
        grey = (deep >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError(f"{path} holds floating point pixels: convert it to 8 bits a channel")
    if image.mode == "P":  # a palette may hold transparent colours
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            w, h = image.size
            return (w, h) if image.getexif().get(_ORIENTATION, 1) >= 5 else (h, w)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InputError(f"{path} cannot be read as an image ({e}): replace or remove it") from e


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p)) if p.isdecimal() else (1, p.lower()) for p in parts] + [(1, str(path))]


def _hint(folder: Path) -> str:
    for child in sorted(folder.iterdir()):
        if child.is_dir() and any(_is_image(p) for p in child.iterdir()):
            return f", but there are in {child}"
    others = sorted(p.name for p in folder.iterdir())
    return f", only {others[0]}{' …' if len(others) > 1 else ''}" if others else ": it is empty"


def _known() -> str:
    return f"images end in {', '.join(sorted(SUFFIXES))}"
