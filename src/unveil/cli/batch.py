"""A batch at the shell: what it skips, how far it is, what failed and why."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unveil.address import as_address
from unveil.batch.crew import Crew
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Book, Ledger
from unveil.batch.mirror import Mirror, place_of
from unveil.batch.page import write_index
from unveil.batch.run import clear, missing, place_of_logs, run
from unveil.batch.segment_work import SegmentWork
from unveil.batch.there import Found, look_through
from unveil.batch.workers import Workers
from unveil.cli.progress import count, progress
from unveil.cli.workers import gathered
from unveil.settings import Settings

_LISTED = 20  # skipped or failed videos that are named one by one


def segment_all(
    jobs: Sequence[Job],
    out: Path,
    settings: Settings,
    workers: Workers,
    *,
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
        found = look_through(done, ledger, settings, address)
        _say_skipped(address or out, [job for job in done if job.name not in found.refused])
        _say_found(found)
        if found.fresh:
            write_index(place, ledger.book)
        if todo:
            with gathered(workers):
                about = {"jobs": workers.count(settings.device), "ray": workers.ray}
                ledger.begin(todo, {"settings": settings.plain(), **about})
                work = SegmentWork(place, settings, address=address, again=again)
                sources = [job.source for job in todo]
                crew = workers.crew(len(todo), work, place_of_logs(place), sources)
                try:
                    with _view(ledger.book, len(todo)) as (ended, looked):

                        def told(underway: int) -> None:
                            looked(underway)
                            mirror.now_and_then()

                        run(todo, crew, ledger, workers.limits, ended, told)
                finally:
                    clear(place, todo)
                    write_index(place, ledger.book)
                    mirror.finish(ledger.book)
        names = {job.name for job in jobs}
        failed = [n for n in ledger.book.failed if n in names and n not in found.refused]
        failed += found.refused
    if failed:
        some = ", ".join(failed[:_LISTED]) + (", …" if len(failed) > _LISTED else "")
        print(f"unveil: {len(failed)} of {len(jobs)} failed: {some}", file=sys.stderr)
    return 2 if failed else 0


def segment_in_stretches(
    load: Callable[[], Any],
    source: str,
    out: Path,
    settings: Settings,
    workers: Workers,
    span: dict[str, Any],
    *,
    again: bool = False,
    copy_of: str | None = None,
) -> dict[str, Any]:
    """Segment one video that several workers look at; returns what `run.json` says.

    load: gives the segmenter. again: also what an interrupted run looked at. copy_of: what the
    source is a copy of, where it is one, and in which version.
    """
    from unveil.batch.stretches import looked_at  # torch with it, which a batch's driver spares

    def hire(tasks: int, work: Any, limits: Limits, logs: Path) -> Crew:
        return workers.crew(tasks, work, logs, [source])

    with gathered(workers):
        segmenter = load()
        with (
            progress(Path(source).name) as show,
            looked_at(
                source,
                out,
                settings,
                workers.limits,
                at_once=workers.count(settings.device),
                hire=hire,
                again=again,
                copy_of=copy_of,
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


def _say_found(found: Found) -> None:
    for words in list(found.refused.values())[:_LISTED]:
        print(f"unveil: {words}", file=sys.stderr)
    for name, words in list(found.otherwise.items())[:_LISTED]:
        print(f"unveil: warning: the result of {name} {words}: --again redoes it", file=sys.stderr)
    if len(found.otherwise) > _LISTED:
        more = len(found.otherwise) - _LISTED
        print(f"unveil: warning: so with {count(more, 'more result')}", file=sys.stderr)
