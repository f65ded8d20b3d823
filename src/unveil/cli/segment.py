"""`unveil segment` and `unveil demo`."""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from unveil.errors import InputError, UnveilError, WeightsError
from unveil.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segment:
    """Segment videos: masks with stable ids, an overlay, objects.json and a contact sheet."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Video files, folders of images, glob patterns of images, or folders of videos."""
    out: Path
    """The folder of the result; with several videos, one folder a video inside it."""
    start: str | None = None
    """First moment used: seconds, mm:ss or hh:mm:ss."""
    end: str | None = None
    """Moment before which to stop."""
    stride: int = 1
    """Use every so many frames one."""
    again: bool = False
    """Segment videos again that have a result already; otherwise they are skipped in a batch."""
    settings: Settings = field(default_factory=Settings)
    """How to segment."""

    def run(self) -> int:
        """Segment every source; a broken one is reported and the others finish."""
        if not all(self.sources) or not self.sources:
            raise InputError("nothing to segment: give a video, a folder or a pattern")
        jobs, batch = self._jobs()
        span = {"start": seconds(self.start), "end": seconds(self.end), "stride": self.stride}
        segmenter, failed = None, []
        for number, (source, out) in enumerate(jobs, 1):
            if batch and not self.again and (out / "run.json").is_file():
                print(f"{out}: has a result already, skipped (--again redoes it)")
                continue
            try:
                if segmenter is None:
                    _check(source, span)
                    segmenter = _load(self.settings)
                place = f"video {number} of {len(jobs)}, " if batch else ""
                _segment_one(segmenter, source, out, span, place)
            except Exception as error:  # whatever is wrong with one must not end the others
                if not batch or isinstance(error, BrokenPipeError | WeightsError):
                    raise
                log.debug("%s failed", source, exc_info=True)
                failed.append(source)
                what = str(error) if isinstance(error, UnveilError) else _unforeseen(error)
                where = "" if source in what else f"{source}: "
                print(f"unveil: {where}{what}", file=sys.stderr)
        if failed:
            print(
                f"unveil: {len(failed)} of {len(jobs)} failed: {', '.join(failed)}", file=sys.stderr
            )
        return 2 if failed else 0

    def _jobs(self) -> tuple[list[tuple[str, Path]], bool]:
        """Sources with their folders, and whether there are several."""
        sources = [video for source in self.sources for video in _videos_of(source)]
        if len(sources) == 1 and sources[0] == self.sources[0]:
            return [(sources[0], self.out)], False
        names = [Path(source).stem or "video" for source in sources]
        twice = {name for name in names if names.count(name) > 1}
        folders = [
            Path(source).name.replace(".", "-") if name in twice else name
            for source, name in zip(sources, names, strict=True)
        ]
        if len(set(folders)) < len(folders):
            raise InputError(f"several videos are called {sorted(twice)}: segment them one by one")
        return [(s, self.out / f) for s, f in zip(sources, folders, strict=True)], True


@dataclass(frozen=True)
class Demo:
    """Fetch a real clip and segment it: what `make demo` runs."""

    out: Path = Path("out")
    """Where the folder of the result is made."""
    clip: str = "bigbuckbunny"
    """bigbuckbunny, carphone, or bikes, which has several shots."""
    start: str | None = None
    """First moment used: seconds, mm:ss or hh:mm:ss; by default a second that shows something."""
    end: str | None = None
    """Moment before which to stop; with neither, about a second is segmented."""
    settings: Settings = field(default_factory=Settings)
    """How to segment."""

    def run(self) -> int:
        """Fetch, segment, and say where the pictures are."""
        from unveil.cli.demo_clips import SPANS, fetch_clip
        from unveil.cli.progress import progress

        with progress("unveil") as show:
            show("fetching the clip", 0, None)
            clip = fetch_clip(self.clip)
        start, end = seconds(self.start), seconds(self.end)
        if start is None and end is None:
            start, end = SPANS[self.clip]
        span = {"start": start, "end": end, "stride": 1}
        _segment_one(_load(self.settings), str(clip), self.out / self.clip, span)
        return 0


def seconds(text: str | None) -> float | None:
    """A moment as seconds: `90`, `1:30`, `00:01:30.5`. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise InputError(f"no moment in a video: {text!r}; give seconds, mm:ss or hh:mm:ss")
    total = 0.0
    for part in parts:
        total = 60 * total + part
    return total


def _videos_of(source: str) -> list[str]:
    from unveil.video.listing import videos_in

    folder = Path(source).expanduser()
    videos = videos_in(folder) if folder.is_dir() else []
    return [str(path) for path in videos] or [source]


def _unforeseen(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory: segment it with a smaller --size or --chunk, or cut it shorter"
    return f"{type(error).__name__}: {error}; this is a fault of Unveil, please report it"


def _check(source: str, span: dict[str, Any]) -> None:
    """Say that there is no video before seconds are spent on loading the models."""
    from unveil.video.source import open_video

    open_video(source, **span)


def _load(settings: Settings) -> Any:
    from unveil.cli.progress import progress

    with progress("unveil") as show:
        show("loading the backbone", 0, None)
        from unveil.segmentation.segmenter import Segmenter  # seconds by itself

        return Segmenter(settings)


def _segment_one(
    segmenter: Any, source: str, out: Path, span: dict[str, Any], place: str = ""
) -> None:
    from unveil.cli.progress import progress

    with progress(f"{place}{Path(source).name}") as show:
        run = segmenter.segment_to(source, out, on_progress=show, **span)
    say(source, out, run)


def say(source: str, out: Path, run: dict[str, Any]) -> None:
    """Tell what was found, where it lies and what it took."""
    video, spent = run["video"], run["seconds"]
    for warning in run["warnings"]:
        print(f"unveil: warning: {warning}", file=sys.stderr)
    size = f"{video['width']}x{video['height']}"
    objects, frames = _count(run["objects"], "object"), _count(video["frames"], "frame")
    print(f"{source}: {objects} in {frames} of {size}")
    print(f"  pictures  {out / 'contact.png'}, {out / 'overlay.mp4'}")
    print(f"  masks     {out / 'masks'}, {out / 'objects.json'}")
    stages = ", ".join(f"{stage} {took:.2f}" for stage, took in spent.items())
    print(f"  seconds   {stages}; {sum(spent.values()):.2f} in all")
    if run["peak_memory_mb"] is not None:
        print(f"  memory    {run['peak_memory_mb']} MB at its peak")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
