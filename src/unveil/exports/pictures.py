"""The frames of a video as JPEG files, for tools that want a picture beside every annotation."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.exports.result import Result
from unveil.video.prefetch import mapped

QUALITY = 95
"""Of JPEG: artefacts that no eye finds."""


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
    steps = mapped(_write, zip(result.frames(), paths, strict=False))
    try:
        yield steps
    finally:
        steps.close()


def _write(picture: tuple[np.ndarray, Path]) -> None:
    frame, path = picture
    Image.fromarray(frame).save(path, quality=QUALITY)
