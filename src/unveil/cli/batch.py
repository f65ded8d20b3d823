"""A batch at the shell: what it skips, how far it is, what failed and why."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unveil.address import as_address
from unveil.batch.crew import Crew
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Book, Ledger
from unveil.batch.mirror import Mirror, place_of
from unveil.batch.page import write_index
from unveil.batch.processes import Processes
from unveil.batch.run import clear, missing, place_of_logs, run
from unveil.batch.work import Work
from unveil.cli.progress import count, progress
from unveil.settings import Settings

_LISTED = 20  # skipped or failed videos that are named one by one


@dataclass(frozen=True)
class Workers:
    """Who does the work: so many processes of this machine, or actors of a Ray cluster.

    jobs: how many; one by default, on a cluster as many as it has GPUs, or else cores. ray: the
    address of a cluster, as `actors.joined` takes it.
    """

    jobs: int | None = None
    ray: str | None = None

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Have them at hand for as long as the block runs."""
        if self.ray is None:
            yield
            return
        from unveil.batch.actors import joined

        with joined(self.ray, self.jobs) as cluster:
            print(f"Ray: {cluster}")
            yield

    def count(self, settings: Settings) -> int:
        """How many work at once."""
        if self.jobs is not None or self.ray is None:
            return self.jobs or 1
        from unveil.batch.actors import seats

        return seats(settings.device)

    def crew(
        self, tasks: int, work: Work, limits: Limits, logs: Path, sources: Sequence[str] = ()
    ) -> Crew:
        """Workers for so many tasks. sources: what all of them have to see."""
        if self.ray is None:
            count = min(self.jobs or 1, tasks)
            return Processes(count, replace(work, threads=threads(count)), limits, logs)
        from unveil.batch.actors import Actors

        here = (Path(s).absolute() for s in sources if as_address(s) is None)
        seen = [path for path in here if path.exists()]
        return Actors(work, limits, logs, most=tasks, jobs=self.jobs, sources=seen)


def segment_all(
    jobs: Sequence[Job],
    out: Path,
    settings: Settings,
    limits: Limits,
    *,
    workers: Workers,
    again: bool,
    resume: bool,
) -> int:
    """Segment what has no result yet; 2 where a video failed.

    out: a folder, or an address. again: also what has a result. resume: not what
    failed for good before.
    """
    address = as_address(out)
    place = out.absolute() if address is None else place_of(address)
    mirror = Mirror(place, address)
    mirror.fetch()
    with Ledger(place) as ledger:
        elsewhere = address is not None
        todo, done = (list(jobs), []) if again else missing(jobs, ledger, resume, elsewhere)
        _say_skipped(address or out, done)
        if todo:
            with workers.gathered():
                about = {"jobs": workers.count(settings), "ray": workers.ray}
                ledger.begin(todo, {"settings": settings.plain(), **about})
                work = Work(place, settings, address=address, again=again)
                sources = [job.source for job in todo]
                crew = workers.crew(len(todo), work, limits, place_of_logs(place), sources)
                try:
                    with _view(ledger.book, len(todo)) as (ended, looked):

                        def told(underway: int) -> None:
                            looked(underway)
                            mirror.now_and_then()

                        run(todo, crew, ledger, limits, ended, told)
                finally:
                    crew.close()
                    clear(place, todo)
                    write_index(place, ledger.book)
                    mirror.finish(ledger.book)
        names = {job.name for job in jobs}
        failed = [name for name in ledger.book.failed if name in names]
    if failed:
        some = ", ".join(failed[:_LISTED]) + (", …" if len(failed) > _LISTED else "")
        print(f"unveil: {len(failed)} of {len(jobs)} failed: {some}", file=sys.stderr)
    return 2 if failed else 0


def segment_in_stretches(
    segmenter: Any,
    source: str,
    out: Path,
    settings: Settings,
    limits: Limits,
    workers: Workers,
    span: dict[str, Any],
    *,
    again: bool = False,
) -> dict[str, Any]:
    """Segment one video that several workers look at; returns what `run.json` says.

    again: also what an interrupted run looked at.
    """
    from unveil.batch.stretches import looked_at  # torch with it, which a batch's driver spares

    def hire(tasks: int, work: Any, limits: Limits, logs: Path) -> Crew:
        return workers.crew(tasks, work, limits, logs, [source])

    with (
        workers.gathered(),
        progress(Path(source).name) as show,
        looked_at(
            source,
            out,
            settings,
            limits,
            at_once=workers.count(settings),
            hire=hire,
            again=again,
            on_progress=show,
            warn=lambda words: print(f"unveil: warning: {words}", file=sys.stderr),
            **span,
        ) as groups,
    ):
        run: dict[str, Any] = segmenter.segment_to(
            source, out, on_progress=show, groups=groups, **span
        )
    return run


@contextmanager
def _view(
    book: Book, total: int
) -> Iterator[tuple[Callable[[Job, Outcome], None], Callable[[int], None]]]:
    """What a batch tells: each video as it ends, and how far all of it is."""
    began, ended_so_far, failed = time.monotonic(), 0, 0
    with progress(count(total, "video")) as show:

        def ended(job: Job, outcome: Outcome) -> None:
            nonlocal ended_so_far, failed
            ended_so_far += 1
            failed += bool(outcome.error)
            for warning in outcome.warnings:
                print(f"unveil: warning: {job.name}: {warning}", file=sys.stderr)
            if outcome.error:
                where = "" if job.source in outcome.error else f"{job.source}: "
                print(f"unveil: {where}{outcome.error}", file=sys.stderr)
                return
            objects, frames = count(len(outcome.scores), "object"), count(outcome.frames, "frame")
            print(f"{job.name}: {objects} in {frames} of {outcome.width}x{outcome.height}")

        def looked(underway: int) -> None:
            done = book.fresh + underway
            scale = book.frames / book.expected if book.expected else 1.0
            whole = max(done, round(book.fresh + scale * book.left))
            words = f"{ended_so_far} of {count(total, 'video')} ended"
            words += f", {failed} failed" if failed else ""
            words += f", {done / max(time.monotonic() - began, 1e-9):.2f} frames a second"
            show("frames", done, whole, words)

        looked(0)
        yield ended, looked


def _say_skipped(out: Path | str, done: Sequence[Job]) -> None:
    for job in done[:_LISTED]:
        print(f"{out}/{job.name}: has a result already, skipped (--again redoes it)")
    if len(done) > _LISTED:
        print(f"{len(done) - _LISTED} more have a result already and are skipped")


def threads(workers: int) -> int | None:
    """Threads of each of so many workers; None, as torch wishes, where there is one."""
    if workers == 1:
        return None
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (here or 1) // workers)
