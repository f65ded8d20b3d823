"""What lies in a folder: which files are pictures and videos, and in what order.

The one list of suffixes and the one order, for sources, datasets and training alike. Hidden
files (`.DS_Store`, `._a.mp4`) are never listed.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from unveil.errors import InputError

VIDEOS = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "qt", "3gp", "3g2", "mkv", "webm", "avi", "divx", "gif", "wmv"),
        *("asf", "flv", "f4v", "mpg", "mpeg", "m2v", "vob", "ts", "mts", "m2ts", "ogv", "ogg"),
        *("mxf", "nut", "y4m", "mjpeg", "mjpg", "dv", "h264", "h265", "hevc", "ivf", "rm"),
    )
)
IMAGES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "bmp", "dib", "webp", "tif", "tiff"),
        *("jp2", "j2k", "jpx", "avif", "ppm", "pgm", "pnm", "tga"),
    )
)


def is_hidden(path: Path) -> bool:
    """Whether a file is nobody's picture: those of the system and of archives made on a Mac."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def is_video(path: Path) -> bool:
    """Whether a path is named as a video file is."""
    return path.suffix.lower() in VIDEOS and not is_hidden(path)


def is_image(path: Path) -> bool:
    """Whether a path is named as an image file is."""
    return path.suffix.lower() in IMAGES and not is_hidden(path)


def natural(path: str | Path) -> list[tuple[int, int | str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p)) if p.isdecimal() else (1, p.lower()) for p in parts] + [(1, str(path))]


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order."""
    return sorted(paths, key=natural)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in natural order.

    Raises InputError where the folder cannot be read.
    """
    try:
        return in_order(p for p in folder.iterdir() if not is_hidden(p))
    except OSError as e:
        why = "permission denied" if isinstance(e, PermissionError) else e.strerror or e
        raise InputError(f"{folder} cannot be read: {why}") from e


def videos_in(folder: Path) -> list[Path]:
    """The video files of a folder, in natural order."""
    return [p for p in entries(folder) if is_video(p) and _is_meant(p)]


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, in natural order."""
    return [p for p in entries(folder) if is_image(p) and _is_meant(p)]


def _is_meant(path: Path) -> bool:
    """A file, or a link to one that is gone: whoever opens that says so."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def image_folders_in(folder: Path) -> list[Path]:
    """The folders in a folder that hold images themselves, in natural order.

    One that cannot be read is among them: whoever opens it says why.
    """
    return [p for p in entries(folder) if p.is_dir() and holds_images(p)]


def holds_images(folder: Path) -> bool:
    """Whether a folder holds images itself; one that cannot be read may."""
    try:
        return any(is_image(p) and p.is_file() for p in folder.iterdir())
    except OSError:
        return True
