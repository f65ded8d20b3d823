"""Results out: one folder a video, written frame by frame, there only when it is complete.

out/
├── masks/00000.png …   ids as DAVIS palette PNGs, named after the frames
├── overlay.mp4         the objects over the frames, at the source's rate
├── objects.json        YouTube-VIS layout: run lengths, areas, boxes, a score an object
├── contact.png         a row of frames over a row of segmentations
├── state.npz           the merge tree, for a new cut (fast mode)
├── evidence.npz        how alike its groups are, for parting objects by hand (fast mode)
├── keys.npy            the mean keys of those groups, for what a patch attends to (fast mode)
├── edits.jsonl         what was put right by hand, where something was
└── run.json            settings, versions, seconds a stage, and which files belong here
"""

import json
import logging
import math
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.errors import InputError
from unveil.fast.evidence import Evidence
from unveil.fast.state import State
from unveil.files import output_errors
from unveil.results import coco as objects
from unveil.results.contact import ContactSheet
from unveil.results.folder import EDITS, OUTPUT, RUN, ResultFolder
from unveil.results.mask_file import MaskFile
from unveil.results.movie import Movie
from unveil.results.overlay import Colours
from unveil.results.palette import davis_palette

log = logging.getLogger(__name__)

STATE, EVIDENCE = "state.npz", "evidence.npz"
_PALETTE_IDS = 255  # a palette has no room for more
_PNG: dict[str, Any] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""As small as level 6 on flat masks."""
_AHEAD = 2  # chunks that may wait to be written; more would only cost memory


class Writer:
    """Writes the result of one video as its chunks come; the folder appears on finish.

    Writing happens in a thread of its own, so that the caller computes on meanwhile: arrays that
    were passed to write must not be changed afterwards. Whatever ends the block before finish
    (an error, Ctrl-C) removes everything that was written.

        with Writer("out/dog", name="dog", fps=Fraction(24), height=480, width=854) as writer:
            for frames, labels, names in chunks:
                writer.write(frames, labels, names)
            writer.finish(scores={1: 0.9}, run={"seed": 0})

    about: names, classes and colours given by hand. edited: `out` may hold an edited result, whose
    edits are carried on. Raises OutputError where `out` cannot be written or holds something else.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        name: str,
        fps: Fraction,
        height: int,
        width: int,
        about: Mapping[int, objects.About] | None = None,
        edited: bool = False,
    ) -> None:
        self._folder = ResultFolder(out, edited)
        self._about = dict(about or {})
        self.name, self.fps, self.height, self.width = name, fps, height, width
        self._names: dict[str, None] = {}  # in order, and found at once among many
        self._movie: Movie | None = None
        self._sheet = ContactSheet(name, self._colours)
        self._pictures: bool | None = None
        self._deep = False

    @property
    def path(self) -> Path:
        """The temporary folder; further files may be put here before finish."""
        return self._folder.path

    def __enter__(self) -> "Writer":
        self._folder.__enter__()
        with output_errors(self._folder.out), self._removed_on_error():
            (self.path / "masks").mkdir()
            self._masks = MaskFile(self.path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unveil-writer")
        self._pending: deque[Future[None]] = deque()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._movie is not None:
            self._movie.abandon()
        self._masks.close()
        self._folder.__exit__(*exc)

    def write(
        self,
        frames: np.ndarray | None,
        labels: np.ndarray,
        frame_names: Sequence[str],
        at: Sequence[int] | None = None,
    ) -> None:
        """Append frames and their labels.

        Args:
            frames: uint8 [t, H, W, 3] RGB, or None to write no pictures.
            labels: uint8 or uint16 [t, H, W], 0 is background.
            frame_names: t names, after which the masks are named.
            at: of each frame how many of the source come before it, where some are left out, so
                that the overlay keeps time.
        """
        self._check(frames, labels, frame_names)
        first = len(self._names)
        self._names.update(dict.fromkeys(frame_names))
        if len(self._pending) == _AHEAD:
            self._pending.popleft().result()
        names, places = list(frame_names), [None] * len(labels) if at is None else list(at)
        self._pending.append(self._thread.submit(self._write, frames, labels, names, first, places))

    def keep(self, state: State, evidence: Evidence | None = None, edits: str = "") -> None:
        """Put what a new cut needs beside the masks, and the log of edits where there is one."""
        with output_errors(self._folder.out):
            state.save(self.path / STATE)
            if evidence is not None:
                evidence.save(self.path / EVIDENCE)
            if edits:
                (self.path / EDITS).write_text(edits, encoding="utf-8")

    def painted(self) -> tuple[int, ...]:
        """The ids that some frame shows, ascending, once all that was given is written."""
        while self._pending:
            self._pending.popleft().result()
        return tuple(sorted(self._masks))

    def finish(self, scores: Mapping[int, float], run: Mapping[str, Any]) -> Path:
        """Complete the folder and put it in its place.

        Args:
            scores: id → score in 0 … 1, for every id in the labels.
            run: what run.json shall hold.
        """
        self.painted()
        if not self._names:
            raise InputError(f"{self.name}: no frame was written, so there is no result")
        self._check_scores(scores)
        with output_errors(self._folder.out):
            if self._deep:
                for name in self._names:
                    _deepen(self.path / "masks" / f"{name}.png")
            if self._movie is not None:
                self._movie.close()
                self._movie = None
                sheet = self._sheet.draw(
                    {i: scores[i] for i in self._masks}, run.get("shots", (0,))
                )
                sheet.save(self.path / "contact.png", compress_level=1)
            self._write_objects(scores)
            self._masks.close()
            _write_json(self.path / RUN, self._run(run), indent=2)
            return self._folder.commit()

    def _write(
        self,
        frames: np.ndarray | None,
        labels: np.ndarray,
        names: list[str],
        first: int,
        places: Sequence[int | None],
    ) -> None:
        with output_errors(self._folder.out):
            for i, image in enumerate(labels):
                write_mask(self.path / "masks" / f"{names[i]}.png", image)
                self._masks.add(first + i, objects.encode(image))
                if frames is not None:
                    if self._movie is None:
                        path = self.path / "overlay.mp4"
                        self._movie = self._paint(path)
                    self._movie.write(frames[i], image, places[i])
                    self._sheet.add(frames[i], image)
            self._deep |= bool(labels.max() > _PALETTE_IDS)

    def _paint(self, path: Path) -> Movie:
        return Movie(path, self.fps, self.height, self.width, colours=self._colours)

    @property
    def _colours(self) -> Colours:
        own = {id: a.colour for id, a in sorted(self._about.items()) if a.colour}
        return tuple((id, _rgb(colour)) for id, colour in own.items())

    def _check(
        self, frames: np.ndarray | None, labels: np.ndarray, frame_names: Sequence[str]
    ) -> None:
        t, size = len(labels), (self.height, self.width)
        if labels.dtype not in (np.uint8, np.uint16) or labels.shape != (t, *size) or t == 0:
            raise InputError(
                f"labels: expected uint8 or uint16 [t, {size[0]}, {size[1]}], got "
                f"{labels.dtype} {list(labels.shape)}"
            )
        if frames is not None and (frames.dtype != np.uint8 or frames.shape != (t, *size, 3)):
            raise InputError(
                f"frames: expected uint8 {[t, *size, 3]}, got {frames.dtype} {list(frames.shape)}"
            )
        if self._pictures not in (None, frames is not None):
            raise InputError("frames: expected with every chunk or with none")
        self._pictures = frames is not None
        if len(frame_names) != t:
            raise InputError(f"frame_names: expected {t} names, got {len(frame_names)}")
        new: set[str] = set()
        for name in frame_names:
            twice = name in self._names or name in new
            if twice or not name or "/" in name or "\\" in name or "\0" in name:
                raise InputError(f"frame name {name!r} cannot name a mask, or is there twice")
            new.add(name)

    def _check_scores(self, scores: Mapping[int, float]) -> None:
        unscored = sorted(set(self._masks) - set(scores))
        if unscored:
            raise InputError(f"scores: expected one for every id, got none for {unscored}")
        for id, score in scores.items():
            if not 0 <= score <= 1 or math.isnan(score):
                raise InputError(f"score of object {id}: expected 0 … 1, got {score}")

    def _write_objects(self, scores: Mapping[int, float]) -> None:
        """Write objects.json, an object at a time; keys in their order, as in all that is JSON."""
        rest, annotations = objects.youtube_vis(
            self._masks,
            scores,
            name=self.name,
            fps=self.fps,
            height=self.height,
            width=self.width,
            frame_names=list(self._names),
            about=self._about,
        )
        with (self.path / "objects.json").open("w", encoding="utf-8") as file:
            file.write('{"annotations":[')
            for i, annotation in enumerate(annotations):
                file.write("," * (i > 0) + _json(annotation))
            file.write("]," + _json(rest).removeprefix("{") + "\n")

    def _run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        output = {
            "files": sorted({p.name for p in self.path.iterdir()} | {RUN}),
            "masks": "16-bit greyscale PNG" if self._deep else "palette PNG",
            "name": self.name,
            "fps": str(self.fps),
            "frames": len(self._names),
            "height": self.height,
            "width": self.width,
            "objects": len(self._masks),
        }
        return {**run, OUTPUT: output}

    @contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._folder.__exit__()
            raise


def _rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour `#rrggbb`."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def write_mask(path: Path, labels: np.ndarray, deep: bool = False) -> None:
    """Write ids [H, W] as a DAVIS palette PNG, or as a grey one of 16 bits.

    deep: 16 bits also where this frame's ids fit a palette, because those of another do not.
    """
    if deep or (labels.dtype == np.uint16 and labels.max() > _PALETTE_IDS):
        image = Image.fromarray(labels.astype(np.uint16, copy=False))
    else:
        image = Image.fromarray(labels.astype(np.uint8, copy=False))
        image.putpalette(davis_palette().tobytes())
    image.save(path, **_PNG)


def _deepen(path: Path) -> None:
    """Rewrite a palette PNG with 16 bits a pixel, as the other masks of its video have."""
    with Image.open(path) as image:
        if image.mode != "P":
            return
        labels = np.array(image).astype(np.uint16)
    Image.fromarray(labels).save(path, **_PNG)


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    path.write_text(_json(content, indent) + "\n", encoding="utf-8")


def _json(content: Mapping[str, Any], indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    return json.dumps(content, indent=indent, separators=separators, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """NumPy numbers as numbers; paths, fractions and the like as text."""
    return value.item() if isinstance(value, np.generic) else str(value)
