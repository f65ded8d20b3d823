"""One long video, looked at by several processes at once, a stretch each.

    with looked_at("long.mp4", Path("out/long"), settings, Limits(), at_once=4) as groups:
        segmenter.segment_to("long.mp4", Path("out/long"), groups=groups)

What takes long is the backbone; it needs no more of a video than a few frames. What is found from
the groups is found in one piece, so ids last from end to end.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil.address import as_path
from unveil.batch.crew import Crew
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger, is_running
from unveil.batch.processes import Processes
from unveil.batch.run import missing, place_of_logs, run
from unveil.batch.segment_work import SegmentWork
from unveil.batch.worker import DoesWork
from unveil.errors import InputError, OutputError
from unveil.fast.groups import BLOCK, Groups
from unveil.fast.stretches import LEAD, counted_through, read_groups, write_groups
from unveil.features.weights import digest
from unveil.files import output_errors, written_whole
from unveil.progress import Progress, silent
from unveil.settings import Settings
from unveil.video.stretches import Stretch, cut

log = logging.getLogger(__name__)
_ABOUT = "stretches.json"


@dataclass
class Look(SegmentWork):
    """Looks at stretches of a video: the groups of each become a file of `out`."""

    def do(self, job: Job, report: Progress) -> Outcome:
        """Look at one stretch; its `lead` is an option of the job."""
        segmenter = self.segmenter(report)
        lead = job.options["lead"]
        blocks = segmenter.groups_of(job.source, lead=lead, on_progress=report, **job.span)
        return Outcome(frames=write_groups(_file(self.out, job), blocks))


@contextmanager
def looked_at(
    source: str,
    out: Path,
    settings: Settings,
    limits: Limits,
    *,
    at_once: int,
    threads: int | None = None,
    work: type[Look] = Look,
    hire: Callable[[int, DoesWork, Limits, Path], Crew] = Processes,
    again: bool = False,
    copy_of: str | None = None,
    on_progress: Progress = silent,
    warn: Callable[[str], None] = print,
    start: float | None = None,
    end: float | None = None,
    stride: int = 1,
) -> Iterator[Iterator[Groups]]:
    """The groups of a video from so many processes, in order, for as long as the block runs.

    out: what was looked at lies in `OUT.stretches` until the block has ended well; the same call
    goes on from there. limits: of each stretch. threads: of each process. work: what they do.
    hire: what makes workers for so many stretches. again: begin anew. copy_of: what the source is a
    copy of, where it is one, and in which version: another copy is the same video. warn: told where
    a stretch has not as many frames as the file promised. Raises InputError for a stretch that
    fails for good; what it printed is then in `OUT.log`.
    """
    span: dict[str, Any] = {"start": start, "end": end, "stride": stride}
    of = _digest(source, settings, span, copy_of)
    with _kept(out, of, at_once, again) as (folder, count):
        stretches = cut(source, count, multiple=BLOCK, lead=LEAD, **span)
        part = {f"stretch-{i}": stretch for i, stretch in enumerate(stretches, 1)}
        jobs = [
            Job(name, source, **s.span, frames=float(s.frames), options={"lead": s.lead})
            for name, s in part.items()
        ]
        total, seen = sum(stretch.frames for stretch in stretches), 0

        def ended(job: Job, outcome: Outcome) -> None:
            nonlocal seen
            seen += outcome.frames
            if not outcome.error and outcome.frames != part[job.name].frames:
                warn(
                    f"{_frames(part[job.name])} of {source} are {outcome.frames} in fact: it is "
                    "damaged there, and groups may lie otherwise than in one piece"
                )

        def looked(underway: int) -> None:
            on_progress("backbone", min(seen + underway, total), total)

        with Ledger(folder) as ledger:
            todo, done = missing(jobs, ledger, resume=False, elsewhere=True)
            seen = sum(part[job.name].frames for job in done)
            looked(0)
            if done:
                log.warning(
                    "%d of %d stretches were looked at by an earlier run, and are taken as they "
                    "are (--again begins anew)",
                    len(done),
                    len(jobs),
                )
            if todo:
                ledger.begin(todo, {})
                logs = place_of_logs(folder)
                crew = hire(len(todo), work(folder, settings, threads=threads), limits, logs)
                with output_errors(out):
                    run(todo, crew, ledger, limits, ended, looked)
            for name, why in ledger.book.failed.items():
                printed = out.with_name(f"{out.name}.log")
                shutil.copyfile(folder / "logs" / f"{name}.log", printed)
                raise InputError(
                    f"{_frames(part[name])} of {source} could not be looked at: {why}; what the "
                    f"process printed is in {printed}"
                )
            yield counted_through(read_groups(_file(folder, job)) for job in jobs)


@contextmanager
def _kept(out: Path, of: str, count: int, again: bool) -> Iterator[tuple[Path, int]]:
    """The folder of the stretches of a video, and how many they are: as an earlier run has it that
    was interrupted, else an empty one. It is gone when the block ends well, or with nothing in it.

    of: what the groups depend on. Raises OutputError where something else lies there.
    """
    folder = out.with_name(f"{out.name}.stretches")
    about = folder / _ABOUT
    if folder.exists() and any(folder.iterdir()):
        try:
            said = json.loads(about.read_text(encoding="utf-8"))
            found, of_found = int(said["stretches"]), said["of"]
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(
                f"{folder} is in the way, where stretches of the video are kept: move it, or "
                "choose another place with --out"
            ) from None
        if is_running(folder):
            raise OutputError(f"another run looks at stretches in {folder}: wait for it")
        if of_found == of and not again:
            count = found
        else:
            if of_found != of:
                log.warning("%s is of another video, or other settings: begun anew", folder)
            shutil.rmtree(folder)
    with output_errors(out):
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(about) as partial:
            partial.write_text(json.dumps({"of": of, "stretches": count}), encoding="utf-8")
    try:
        yield folder, count
    except BaseException:
        if any(folder.glob("*.npz")):
            log.warning("stretches that are done are kept in %s: the same command goes on", folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _digest(
    source: str, settings: Settings, span: dict[str, Any], copy_of: str | None = None
) -> str:
    """What the groups of a video depend on: its files, the weights, the settings, the version."""
    path = as_path(source).absolute()
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    what = [str(path), _about(files)] if copy_of is None else copy_of
    head = _about([settings.head] if settings.head is not None else [])
    weights = digest(settings.backbone)
    said = [what, head, span, settings.plain(), weights, version("unveil")]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _about(files: list[Path]) -> list[tuple[str, int, int]]:
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.name}.npz"


def _frames(stretch: Stretch) -> str:
    return f"frames {stretch.first} to {stretch.first + stretch.frames - 1}"
