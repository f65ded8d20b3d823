"""A batch, from what there is to do to what became of it.

    with Ledger(out) as ledger:
        todo, done = missing(jobs, ledger, resume=False)
        ledger.begin(todo, {})
        run(todo, crew, ledger, limits, ended, looked)

The longest videos are begun first. A try that may go better another time (its process died,
hung, or grew too large) waits behind what has not been tried yet.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from unveil.batch.crew import Crew, Task
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger

LOGS = "logs"
Tell = Callable[[Job, Outcome], None]


def missing(
    jobs: Iterable[Job], ledger: Ledger, resume: bool, elsewhere: bool = False
) -> tuple[list[Job], list[Job]]:
    """Jobs that are to be done, and those that have a result already.

    resume: what an earlier run named a failure is left at that, and in neither. elsewhere: results
    do not lie beside the ledger, which alone tells of them.
    """
    todo, done = [], []
    for job in jobs:
        entry = ledger.book.videos.get(job.name)
        has = entry is not None and entry.state == "done"
        if not elsewhere:
            has = (ledger.path.parent / job.name / "run.json").is_file()
        if has:
            done.append(job)
        elif not (resume and entry is not None and entry.state == "failed"):
            todo.append(job)
    return todo, done


def run(
    jobs: Iterable[Job],
    crew: Crew,
    ledger: Ledger,
    limits: Limits,
    ended: Tell,
    looked: Callable[[int], None],
) -> None:
    """Do all jobs; the ledger says what became of them, and the crew is closed.

    ended: told of each that is done or failed for good. looked: called once a second or more often,
    with the frames seen of videos that are not done. Raises what would fail every job, such as
    WeightsError where the model cannot be loaded.
    """
    waiting = deque(Task(job) for job in sorted(jobs, key=lambda job: -job.frames))
    going = 0
    try:
        while waiting or going:
            while waiting and crew.free() > 0:
                task = waiting.popleft()
                ledger.running(task.job, task.attempt, crew.give(task))
                going += 1
            for task, outcome in crew.wait(1.0):
                going -= 1
                if outcome.fatal:
                    raise outcome.fatal(outcome.error)
                again = bool(outcome.error) and outcome.again and task.attempt < limits.tries
                ledger.ended(task.job, task.attempt, outcome, again)
                if again:
                    waiting.append(Task(task.job, task.attempt + 1))
                else:
                    ended(task.job, outcome)
            looked(crew.underway())
    finally:
        crew.close()


def place_of_logs(out: Path) -> Path:
    """The folder of the logs, a file a video, made where it is missing."""
    folder = out / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear(out: Path, jobs: Iterable[Job]) -> None:
    """Remove what workers on nodes that are gone left half written, once no worker lives."""
    names = {f".{job.name}.partial-" for job in jobs}
    for left in out.glob(".*.partial-*"):
        if left.name.partition(".partial-")[0] + ".partial-" in names:
            shutil.rmtree(left, ignore_errors=True)
