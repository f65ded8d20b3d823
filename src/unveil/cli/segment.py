"""`unveil segment` and `unveil demo`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from unveil.address import as_address, plain_place
from unveil.batch.workers import Workers
from unveil.cli.options import MAY_BE_ADDRESS
from unveil.cli.progress import count, progress
from unveil.errors import InputError, OutputError
from unveil.settings import Settings


@dataclass(frozen=True)
class Segment:
    """Segment videos: masks with stable ids, an overlay, objects.json and a contact sheet."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Video files, folders of images, folders of videos, glob patterns, lists (.txt, a source a
    line) or tables (.csv, .parquet with a column source); or addresses (s3://, https://, …);
    alone, also camera:0 or what is live (rtsp://)."""
    out: Annotated[Path, MAY_BE_ADDRESS]
    """The folder of the result; with several videos, or at an address, one a video inside it."""
    start: str | None = None
    """First moment used: seconds, mm:ss or hh:mm:ss."""
    end: str | None = None
    """Moment before which to stop; a camera or an address is recorded until then, or Ctrl-C."""
    stride: int = 1
    """Use every so many frames one."""
    live: bool = False
    """Label one source while it goes on, at its own pace: frames that come while work is behind are
    dropped; the delay is told. Until --end or Ctrl-C."""
    stretch: float | None = None
    """Seconds of a live source in each result inside the folder of --out, at least 1; 600 by
    default."""
    again: bool = False
    """Segment videos again that have a result already, otherwise skipped in a batch; look again at
    stretches that an interrupted run looked at; record again over a recording."""
    resume: bool = False
    """Go on with a batch, where what failed for good is not tried again, as it is otherwise; or
    with the stretches of one video."""
    workers: Workers = field(default_factory=Workers)
    """Who does the work: the videos of a batch, or the stretches of one that is cut into so many.
    """
    settings: Settings = field(default_factory=Settings)
    """How to segment."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(map(plain_place, self.sources)))

    def run(self) -> int:
        """Segment every source; a broken one is reported and the others finish."""
        if not all(self.sources) or not self.sources:
            raise InputError("nothing to segment: give a video, a folder or a pattern")
        span = {"start": seconds(self.start), "end": seconds(self.end), "stride": self.stride}
        from unveil.batch.sources import is_many, tell_what_is_left_out
        from unveil.batch.storage import is_stored
        from unveil.video.recording import is_live

        if self.live:
            return self._live(span)
        if self.stretch is not None:
            raise InputError("--stretch is for --live: leave it out")
        if len(self.sources) > 1 or is_many(self.sources[0]) or as_address(self.out):
            return self._batch(span)
        self._check_single()
        check_early(self.settings)
        if is_live(self.sources[0]) and not is_stored(self.sources[0]):
            self._single(str(_record(self.sources[0], self.out, span["end"], self.again)), span)
            return 0
        from unveil.results.folder import check_out

        tell_what_is_left_out(self.sources[0])
        check_out(self.out)
        with _at_hand(self.sources[0]) as (source, copy_of):
            self._single(source, span, copy_of)
            if source != self.sources[0]:
                from unveil.batch.storage import name_source

                name_source(self.out, self.sources[0])
        return 0

    def _check_single(self) -> None:
        """Raise InputError for options that mean nothing for one video, or without others."""
        given = _given(self.workers) | ({"resume"} if self.resume else set())
        if not self._in_stretches and (alone := given - {"jobs", "ray"}):
            raise InputError(
                f"--{min(alone)} is for several videos, or for the stretches of one with --jobs 2 "
                "or more, and this is one: leave it out"
            )

    @property
    def _in_stretches(self) -> bool:
        """Whether one video is cut into stretches."""
        return self.workers.ray is not None or (self.workers.jobs or 1) > 1

    def _single(self, source: str, span: dict[str, Any], copy_of: str | None = None) -> None:
        """Segment one video that is on this machine. copy_of: what it was fetched from."""
        if self._in_stretches:
            self.settings.check_stretches()
        _check(source, span)
        if not self._in_stretches:
            _segment_one(_load(self.settings), source, self.out, span)
            return
        from unveil.cli.batch import segment_in_stretches

        run = segment_in_stretches(
            lambda: _load(self.settings),
            source,
            self.out,
            self.settings,
            self.workers,
            span,
            again=self.again,
            copy_of=copy_of,
        )
        say(source, self.out, run)

    def _live(self, span: dict[str, Any]) -> int:
        from unveil.cli.live import segment_live

        if len(self.sources) > 1:
            raise InputError("--live is for one source: give one, or leave it out")
        given = _given(self.workers) | {n for n in ("again", "resume") if getattr(self, n)}
        if given:
            raise InputError(f"--{min(given)} means nothing with --live: leave it out")
        segment_live(self.sources[0], self.out, span, self.stretch, self.settings)
        return 0

    def _batch(self, span: dict[str, Any]) -> int:
        from unveil.batch.sources import list_jobs
        from unveil.cli.batch import segment_all

        if self.again and self.resume:
            raise InputError(
                "--again redoes everything and --resume nothing: leave one of them out"
            )
        return segment_all(
            list_jobs(self.sources, **span),
            self.out,
            self.settings,
            self.workers,
            again=self.again,
            resume=self.resume,
        )


def _given(workers: Workers) -> set[str]:
    """The options of workers that were given."""
    return {f.name for f in fields(Workers) if getattr(workers, f.name) != f.default}


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
        from unveil.features.demo_clips import SPANS, fetch_clip

        start, end = seconds(self.start), seconds(self.end)
        check_early(self.settings)
        with progress("unveil") as show:
            show("fetching the clip", 0, None)
            clip = fetch_clip(self.clip)
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


def _record(source: str, out: Path, end: float | None, again: bool) -> Path:
    """A live source as a file beside its result: a camera shows nothing twice."""
    from unveil.results.folder import check_out
    from unveil.video.recording import record

    check_out(out)
    file = out.with_name(f"{out.name}.mkv")
    if file.exists() and not again:
        raise OutputError(
            f"{file} is there already, where {source} would be recorded: record over it with "
            "--again, or choose another place with --out"
        )
    with progress(source) as show:
        record(source, file, end, show)
    print(f"{source}: recorded in {file}")
    return file


@contextmanager
def _at_hand(source: str) -> Iterator[tuple[str, str | None]]:
    """A source that is on this machine: itself, or what was fetched from its address; then what it
    is a copy of too.
    """
    from unveil.batch.storage import fetched, place_of_fetched, version_of

    if (address := as_address(source)) is None:
        yield source, None
        return
    copy_of = version_of(address)
    with fetched(address, place_of_fetched()) as file:
        yield str(file), copy_of


def _check(source: str, span: dict[str, Any]) -> None:
    """Say that there is no video before seconds are spent on loading the models."""
    from unveil.video.source import open_video

    open_video(source, **span)


def check_early(settings: Settings) -> None:
    """Say what is wrong with settings before anything is fetched, recorded or loaded."""
    from unveil.segmentation.preconditions import check_settings  # seconds by itself

    check_settings(settings)


def _load(settings: Settings) -> Any:
    with progress("unveil") as show:
        show("loading the backbone", 0, None)
        from unveil.segmentation.segmenter import Segmenter  # seconds by itself

        return Segmenter(settings)


def _segment_one(segmenter: Any, source: str, out: Path, span: dict[str, Any]) -> None:
    with progress(Path(source).name) as show:
        run = segmenter.segment_to(source, out, on_progress=show, **span)
    say(source, out, run)


def say(source: str, out: Path, run: dict[str, Any]) -> None:
    """Tell what was found, where it lies and what it took."""
    video, spent = run["video"], run["seconds"]
    for warning in run["warnings"]:
        print(f"unveil: warning: {warning}", file=sys.stderr)
    size = f"{video['width']}x{video['height']}"
    objects, frames = count(run["objects"], "object"), count(video["frames"], "frame")
    shots = len(run.get("shots", [0]))
    cuts = f" in {shots} shots" if shots > 1 else ""
    print(f"{source}: {objects} in {frames}{cuts} of {size}")
    print(f"  pictures  {out / 'contact.png'}, {out / 'overlay.mp4'}")
    print(f"  masks     {out / 'masks'}, {out / 'objects.json'}")
    stages = ", ".join(f"{stage} {took:.2f}" for stage, took in spent.items())
    print(f"  seconds   {stages}; {sum(spent.values()):.2f} in all")
    if run["peak_memory_mb"] is not None:
        print(f"  memory    {run['peak_memory_mb']} MB at its peak")
