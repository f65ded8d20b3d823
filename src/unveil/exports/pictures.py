"""The frames of a video as JPEG files, for tools that want a picture beside every annotation.

Frames that are JPEG files are copied, not encoded a second time.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.exports.result import Result
from unveil.video.images import is_plain_jpeg, read_image
from unveil.video.prefetch import mapped

QUALITY = 95
"""Of JPEG: artefacts that no eye finds."""
_JPEG = (".jpg", ".jpeg")


@contextmanager
def write_pictures(
    result: Result, paths: Iterable[Path], wanted: bool = True
) -> Iterator[Iterator[None]]:
    """An iteration that writes a frame a step, several of them side by side.

    paths: of the frames, in their order. wanted: False writes none, without end. Nothing is written
    any more once the block is left.
    """
    if not wanted:
        yield repeat(None)
        return
    files = result.files()
    steps = (
        mapped(_copy, zip(files, paths, strict=False))
        if files and all(file.suffix.lower() in _JPEG for file in files)
        else mapped(_write, zip(result.frames(), paths, strict=False))
    )
    try:
        yield steps
    finally:
        steps.close()


def _write(picture: tuple[np.ndarray, Path]) -> None:
    frame, path = picture
    Image.fromarray(frame).save(path, quality=QUALITY)


def _copy(picture: tuple[Path, Path]) -> None:
    file, path = picture
    if is_plain_jpeg(file):
        shutil.copyfile(file, path)
    else:
        _write((read_image(file), path))
