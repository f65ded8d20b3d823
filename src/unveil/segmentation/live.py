"""A live source, labelled as it goes: a result a stretch, each there as soon as it is whole.

    out/desk/00-00-00    masks, overlay.mp4, objects.json, contact.png, run.json
    out/desk/00-10-00    …
    out/desk/newest.jpg  the newest labelled frame, painted, while it goes on

Ids last over all of them. A stretch bounds what is held in memory, and what a power cut takes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.checks import require
from unveil.errors import OutputError
from unveil.files import check_parent, output_errors, written_whole
from unveil.results.overlay import paint
from unveil.results.writer import Writer
from unveil.video.live import Live, Shown
from unveil.video.live_source import LiveSource

STRETCH = 600.0
"""Seconds of the source in one result."""
NEWEST = "newest.jpg"


@dataclass
class Delays:
    """How late labels were: seconds from the first frame of a block to the labels of it."""

    blocks: int = 0
    total: float = 0.0
    most: float = 0.0
    latest: float = 0.0

    def add(self, seconds: float) -> None:
        """Another block, so late."""
        self.blocks, self.total = self.blocks + 1, self.total + seconds
        self.most, self.latest = max(self.most, seconds), seconds

    @property
    def mean(self) -> float:
        """Of all blocks; 0 where there are none."""
        return self.total / max(1, self.blocks)

    def plain(self) -> dict[str, float]:
        """Seconds as JSON can hold them."""
        return {"mean": round(self.mean, 3), "most": round(self.most, 3)}


@dataclass
class LiveRun:
    """What was written so far.

    frames: labelled. came, dropped: frames of the source. results: their folders. ids: of objects
    that some frame shows.
    """

    frames: int = 0
    came: int = 0
    dropped: int = 0
    delays: Delays = field(default_factory=Delays)
    results: list[Path] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)


class _Stretch:
    """The result that is being written, from a first block of frames on."""

    def __init__(self, writer: Writer, shown: Shown, out: Path) -> None:
        self.writer, self.out = writer, out
        self.first = self.last = shown.numbers[0]
        self.frames, self.delays = 0, Delays()

    def write(self, frames: np.ndarray, labels: np.ndarray, shown: Shown) -> None:
        places = [n - self.first for n in shown.numbers]
        self.writer.write(frames, labels, [f"{n:07d}" for n in shown.numbers], places)
        self.frames, self.last = self.frames + len(frames), shown.numbers[-1]
        self.delays.add(shown.delay)

    def about(self) -> dict[str, Any]:
        """What run.json says of the source, beside what it says of any."""
        dropped = self.last - self.first + 1 - self.frames
        numbers = {"first_frame": self.first, "dropped": dropped}
        return {**numbers, "delay_s": self.delays.plain()}


def write_live(
    labelled: Iterable[tuple[np.ndarray, np.ndarray]],
    live: Live,
    source: LiveSource,
    out: Path,
    scores: Mapping[int, float],
    run: Callable[[int, int], dict[str, Any]],
    stretch: float = STRETCH,
    on_block: Callable[[LiveRun], None] = lambda done: None,
) -> LiveRun:
    """Write frames of a live source and their labels as they come.

    labelled: frames [t, H, W, 3] that `live` handed out, and labels [t, H, W]. scores: of every id
    labelled so far. run: what run.json says, for so many frames and objects. stretch: seconds,
    >= 1. Raises OutputError where `out` cannot be written to or holds something; what an error
    breaks off is the last stretch, those before it are whole.
    """
    require(stretch >= 1, "stretch", "at least 1 s", stretch)
    check_empty(out)
    per = max(math.ceil(source.fps), round(stretch * source.fps))
    done = LiveRun()
    at: _Stretch | None = None
    with ExitStack() as writing, _removed(out / NEWEST):
        for frames, labels in labelled:
            shown = live.shown(len(frames))
            if at is None or shown.numbers[0] // per != at.first // per:
                if at is not None:
                    _finish(at, scores, run, done)
                writing.close()
                folder = out / _moment(shown.numbers[0] // per * per / source.fps)
                at = _Stretch(writing.enter_context(_writer(folder, source)), shown, folder)
            at.write(frames, labels, shown)
            _show(out / NEWEST, frames[-1], labels[-1])
            done.frames += len(frames)
            done.came, done.dropped = live.came, live.dropped
            done.delays.add(shown.delay)
            on_block(done)
        if at is not None:
            _finish(at, scores, run, done)
    return done


def check_empty(out: Path) -> None:
    """Raise OutputError unless results may be put into a folder that is not there or is empty."""
    with output_errors(out):
        if not out.exists():
            check_parent(out.absolute())
        elif not out.is_dir() or any(out.iterdir()):
            raise OutputError(f"{out} is there and not empty: choose another folder with --out")


def _writer(folder: Path, source: LiveSource) -> Writer:
    return Writer(
        folder, name=source.name, fps=source.fps, height=source.height, width=source.width
    )


def _finish(
    at: _Stretch,
    scores: Mapping[int, float],
    run: Callable[[int, int], dict[str, Any]],
    done: LiveRun,
) -> None:
    ids = at.writer.painted()
    about = run(at.frames, len(ids)) | {"live": at.about()}
    at.writer.finish({id: scores[id] for id in ids}, about)
    done.results.append(at.out)
    done.ids.update(ids)


def _moment(seconds: Fraction) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}-{minutes % 60:02d}-{second:02d}"


def _show(path: Path, frame: np.ndarray, labels: np.ndarray) -> None:
    with output_errors(path.parent), written_whole(path) as partial:
        Image.fromarray(paint(frame, labels)).save(partial, format="JPEG", quality=85)


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    """A file that is there while the block goes on."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
