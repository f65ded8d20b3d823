"""The pictures of a result's video, one by one, as the page asks for them."""

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from unveil.address import as_path
from unveil.errors import InputError
from unveil.segmentation.recut import open_again
from unveil.video.access import Frames
from unveil.video.source import span_of

_KEPT = 48 << 20  # bytes of encoded frames that are kept
_QUALITY = 88  # of the JPEGs
_RATE = 24.0  # frames a second of what has no pictures and no rate of its own


class Film:
    """The frames of a result; where its video moved, none until somebody says where it is.

    folder: of the result. about: what its run.json says of the video; a new place is noted there.
    count: frames of the result. source: the video, where it moved. `error` says in words why there
    are no frames, and is empty where there are. Raises InputError for a source that is given and is
    not it. Memory does not grow with what is looked at.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], count: int, source: str | Path | None = None
    ) -> None:
        self._folder, self._about, self._count = folder, about, count
        self._lock = threading.Lock()
        self._pictures: OrderedDict[int, bytes] = OrderedDict()
        self.frames: Frames | None = None
        self._blank = False
        self.error = ""
        try:
            self.find(source)
        except InputError as error:
            if source is not None:
                raise
            self.error = str(error)

    def find(self, source: str | Path | None) -> None:
        """Take the video from elsewhere. Raises InputError where it is not there or another."""
        about = self._about
        video = open_again(self._folder, about, source)
        path = as_path(source or about["source"]).absolute()
        frames = Frames(path, self._count, **span_of(path, about))
        frames[self._count - 1]  # the last one there, so are the others
        if source is not None:
            about["source"] = str(path)
        self.frames, self.error, self._rate = frames, "", float(video.fps)

    def do_without(self) -> None:
        """Show masks over nothing, where the pictures are not to be had."""
        self._blank, self.error = True, ""

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """A frame. Raises InputError where there is none."""
        if self.frames is not None:
            return self.frames[index]
        if not self._blank:
            raise InputError(self.error)
        if not 0 <= index < self._count:
            raise InputError(f"there is no frame {index}: the video has {self._count}")
        return np.full((self._about["height"], self._about["width"], 3), 32, np.uint8)

    def picture(self, index: int) -> bytes:
        """A frame as JPEG."""
        with self._lock:
            if index in self._pictures:
                self._pictures.move_to_end(index)
                return self._pictures[index]
        out = io.BytesIO()
        Image.fromarray(self.frame(index)).save(out, "JPEG", quality=_QUALITY)
        if self.frames is None:
            return out.getvalue()
        with self._lock:
            self._pictures[index] = out.getvalue()
            while sum(map(len, self._pictures.values())) > _KEPT and len(self._pictures) > 1:
                self._pictures.popitem(last=False)
        return out.getvalue()

    def describe(self) -> dict[str, Any]:
        """What the page has to know of the video."""
        about = self._about
        return {
            "name": about["name"],
            "folder": str(self._folder),
            "source": about["source"],
            "frames": self._count,
            "height": about["height"],
            "width": about["width"],
            "fps": self._rate if self.frames else float(_fraction(about.get("fps")) or _RATE),
        }


def _fraction(text: Any) -> float:
    from fractions import Fraction

    try:
        return float(Fraction(str(text)))
    except (ValueError, ZeroDivisionError):
        return 0.0
