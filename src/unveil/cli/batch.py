"""A batch at the shell: what it skips, how far it is, what failed and why."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Book, Ledger
from unveil.batch.mirror import Mirror, place_of
from unveil.batch.page import write_index
from unveil.batch.processes import Processes
from unveil.batch.run import clear, missing, place_of_logs, run
from unveil.batch.storage import as_address
from unveil.batch.work import Work
from unveil.cli.progress import count, progress
from unveil.settings import Settings

_LISTED = 20  # skipped or failed videos that are named one by one


def segment_all(
    jobs: Sequence[Job],
    out: Path,
    settings: Settings,
    limits: Limits,
    *,
    at_once: int,
    again: bool,
    resume: bool,
) -> int:
    """Segment what has no result yet; 2 where a video failed.

    out: a folder, or an address. at_once: workers. again: also what has a result. resume: not what
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
            ledger.begin(todo, {"settings": settings.plain(), "jobs": at_once})
            work = Work(place, settings, address=address, again=again)
            workers = min(at_once, len(todo))
            work = replace(work, threads=threads(workers))
            crew = Processes(workers, work, limits, place_of_logs(place))
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
    at_once: int,
    span: dict[str, Any],
) -> dict[str, Any]:
    """Segment one video that so many processes look at; returns what `run.json` says."""
    from unveil.batch.stretches import looked_at  # torch with it, which a batch's driver spares

    with progress(Path(source).name) as show:
        groups = looked_at(
            source,
            out,
            settings,
            limits,
            at_once=at_once,
            threads=threads(at_once),
            on_progress=show,
            warn=lambda words: print(f"unveil: warning: {words}", file=sys.stderr),
            **span,
        )
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
