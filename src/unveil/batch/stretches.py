"""One long video, looked at by several processes at once, a stretch each.

    groups = looked_at("long.mp4", Path("out/long"), settings, Limits(), at_once=4)
    segmenter.segment_to("long.mp4", Path("out/long"), groups=groups)

What takes long is the backbone; it needs no more of a video than a few frames. What is found from
the groups is found in one piece, so ids last from end to end.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil.batch.crew import Crew
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger
from unveil.batch.processes import Processes
from unveil.batch.run import place_of_logs, run
from unveil.batch.work import Work
from unveil.batch.worker import DoesWork
from unveil.errors import InputError
from unveil.fast.groups import BLOCK, Groups
from unveil.fast.stretches import LEAD, counted_through, read_groups, write_groups
from unveil.files import output_errors, scratch
from unveil.progress import Progress, silent
from unveil.settings import Settings
from unveil.video.stretches import Stretch, cut


@dataclass
class Look(Work):
    """Looks at stretches of a video: the groups of each become a file of `out`."""

    def segment(self, job: Job, report: Progress) -> Outcome:
        """Look at one stretch; its `lead` is an option of the job."""
        self._limit_threads()
        segmenter = self._loaded(report)
        lead = job.options["lead"]
        blocks = segmenter.groups_of(job.source, lead=lead, on_progress=report, **job.span)
        return Outcome(frames=write_groups(_file(self.out, job), blocks))


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
    on_progress: Progress = silent,
    warn: Callable[[str], None] = print,
    start: float | None = None,
    end: float | None = None,
    stride: int = 1,
) -> Iterator[Groups]:
    """The groups of a video from so many processes, in order; they begin with the first asked for.

    out: files lie beside it meanwhile. limits: of each stretch. threads: of each process. work:
    what they do. hire: what makes workers for so many stretches. warn: told where a stretch has not
    as many frames as the file promised. Raises InputError for a stretch that fails for good; what
    it printed is then in `OUT.log`.
    """
    span: dict[str, Any] = {"start": start, "end": end, "stride": stride}
    stretches = cut(source, at_once, multiple=BLOCK, lead=LEAD, **span)
    part = {f"stretch-{i}": stretch for i, stretch in enumerate(stretches, 1)}
    jobs = [
        Job(name, source, **s.span, frames=float(s.frames), options={"lead": s.lead})
        for name, s in part.items()
    ]
    total, seen = sum(stretch.frames for stretch in stretches), 0
    with output_errors(out), scratch(out.with_name(f"{out.name}.stretches")) as folder:

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
            ledger.begin(jobs, {})
            crew = hire(len(jobs), work(folder, settings, threads), limits, place_of_logs(folder))
            try:
                looked(0)
                run(jobs, crew, ledger, limits, ended, looked)
            finally:
                crew.close()
            failed = ledger.book.failed
        for name, why in failed.items():
            log = out.with_name(f"{out.name}.log")
            shutil.copyfile(folder / "logs" / f"{name}.log", log)
            raise InputError(
                f"{_frames(part[name])} of {source} could not be looked at: {why}; what the "
                f"process printed is in {log}"
            )
        yield from counted_through(read_groups(_file(folder, job)) for job in jobs)


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.name}.npz"


def _frames(stretch: Stretch) -> str:
    return f"frames {stretch.first} to {stretch.first + stretch.frames - 1}"
