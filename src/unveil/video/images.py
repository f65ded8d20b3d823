"""Sequences of images: a folder, a glob pattern, or one file of one or many pictures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from glob import glob, has_magic
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from unveil.errors import InputError
from unveil.video.listing import IMAGES, entries, images_in, in_order, is_image

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits that cameras and scanners give a pixel
_TOLD_LATE = ("WEBP", "AVIF")  # how long a picture is shown, only once it is decoded
_ORIENTATION = 0x0112  # EXIF tag; values from 5 on swap height and width


def find_images(source: Path) -> list[Path] | None:
    """The images that source names, in natural order; None where source is something else.

    source: a folder, a glob pattern, or one image file. Raises InputError where it names none.
    """
    if source.is_dir():
        files = images_in(source)
        if not files:
            raise InputError(f"no images in {source}{_hint(source)}; {_known()}")
    elif source.is_file():
        if not is_image(source):
            return None
        files = [source]
    elif has_magic(str(source)):
        matches = [Path(p) for p in glob(str(source), recursive=True)]
        files = [p for p in matches if is_image(p) and p.is_file()]
        if not files:
            what = f"only other files ({matches[0]})" if matches else "nothing"
            raise InputError(f"the pattern {source} matches {what}; {_known()}")
    else:
        return None
    return in_order(files)


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


@dataclass(frozen=True)
class Pictures:
    """What one image file holds: how many pictures, and how many of them are shown a second.

    fps: exact, in the mean; None where the file does not say. even: all are shown equally long.
    """

    count: int
    fps: Fraction | None
    even: bool = True


def look_into(path: Path) -> Pictures:
    """How many pictures a file holds: animated WebP and PNG and TIFF with pages hold several.

    Raises InputError where they differ in size.
    """
    with _opened(path) as image:
        count = _count(image)
        if count == 1:
            return Pictures(1, None)
        shown, first = [], image.size
        for page in ImageSequence.Iterator(image):
            if page.size != first:
                raise InputError(
                    f"{path} holds pictures of {first[0]}x{first[1]} and {page.size[0]}x"
                    f"{page.size[1]}: save those that are meant as files of their own"
                )
            if page.format in _TOLD_LATE:
                page.load()
            shown.append(float(page.info.get("duration") or 0))
    if not all(shown):
        return Pictures(count, None)
    milliseconds = Fraction(sum(shown)).limit_denominator(1000)
    return Pictures(count, 1000 * count / milliseconds, len(set(shown)) == 1)


def check_single(files: Sequence[Path]) -> None:
    """Raise InputError for a file of a sequence that holds several pictures itself."""
    for path in files:
        with _opened(path) as image:
            count = _count(image)
        if count > 1:
            raise InputError(
                f"{path} holds {count} pictures and is one of {len(files)} files: segment it by "
                "itself, or take it out of the sequence"
            )


def read_pictures(path: Path, depth: int = 16) -> Iterator[np.ndarray]:
    """All pictures of one file, as `read_image` reads one."""
    with _opened(path) as image:
        for page in ImageSequence.Iterator(image):
            yield _rgb(_upright(page), path, depth)


def read_image(path: Path, depth: int = 16, page: int = 0) -> np.ndarray:
    """One image as uint8 [H, W, 3] RGB, upright by its EXIF tag; transparency is dropped.

    page: which picture, of a file of many.
    depth: bits that a pixel of more than 8 uses, see `depth_of`; the highest 8 of them are kept.
    """
    with _opened(path) as image:
        image.seek(page)
        return _rgb(_upright(image), path, depth)


def is_plain_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG whose pixels are the frame as they lie: colours, and upright."""
    with _opened(path) as image:
        return image.format == "JPEG" and image.mode == "RGB" and not _is_turned(image)


def _count(image: Image.Image) -> int:
    """How many pictures a file holds for whoever looks at it.

    What phones and cameras put behind a JPEG, a preview or a map of its brightness, is none.
    """
    return 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)


def depth_of(files: Sequence[Path]) -> int | None:
    """Bits that the pixels of a sequence use where they have more than 8; None where they have 8.

    A camera of 12 bits stores them in files of 16, which would look black. All images are looked
    at, so that each is read alike. Raises InputError for negative pixels and floating point ones.
    """
    highest = None
    for path in files:
        with _opened(path) as image:
            for page in ImageSequence.Iterator(image):
                if not page.mode.startswith("I"):
                    break
                deep = np.asarray(page)
                if deep.min() < 0:
                    raise InputError(f"{path} holds negative pixels: convert it to 8 bits")
                highest = max(highest or 0, int(deep.max()))
    if highest is None:
        return None
    return next(bits for bits in _DEPTHS if highest < 1 << bits)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except PermissionError as e:
        raise InputError(f"{path} cannot be read: permission denied") from e
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InputError(f"{path} cannot be read as an image ({e}): replace or remove it") from e


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION, 1) != 1


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF tag says; Pillow copies also what lies as it should."""
    return ImageOps.exif_transpose(image) if _is_turned(image) else image


def _rgb(image: Image.Image, path: Path, depth: int) -> np.ndarray:
    if image.mode.startswith("I"):  # more than 8 bits a pixel, however the file calls it
        deep = np.asarray(image).astype(np.int64)
        grey = (deep << 8 >> depth).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError(f"{path} holds floating point pixels: convert it to 8 bits a channel")
    if image.mode == "P":  # a palette may hold transparent colours
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _size(path: Path) -> tuple[int, int]:
    with _opened(path) as image:
        w, h = image.size
        return (w, h) if image.getexif().get(_ORIENTATION, 1) >= 5 else (h, w)


def _hint(folder: Path) -> str:
    for child in entries(folder):
        if child.is_dir() and images_in(child):
            return f", but there are in {child}"
    others = [p.name for p in entries(folder)]
    return f", only {others[0]}{' …' if len(others) > 1 else ''}" if others else ": it is empty"


def _known() -> str:
    return f"images end in {', '.join(sorted(IMAGES))}"
