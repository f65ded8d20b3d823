"""Who does the work: this process, processes of this machine, or actors of a Ray cluster.

workers = Workers(jobs=4)
with workers.gathered():
    failed = workers.do(jobs, work, Path("out"))
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from unveil.address import as_address
from unveil.batch.crew import Crew
from unveil.batch.job import Job, Limits, Outcome
from unveil.checks import Within, check_fields
from unveil.progress import Progress, silent


@dataclass(frozen=True)
class Workers:
    """How many do the work, where, and what a job may cost.

    Raises InputError for values that make no sense.
    """

    jobs: Annotated[int, Within(1)] | None = None
    """Processes, each with a model of its own, that share what there is to do. One by default; with
    --ray as many as the cluster has GPUs, or else cores."""
    ray: str | None = None
    """Work on a Ray cluster: host:port, ray://host:port, auto for the one that this machine is part
    of, nothing for one that is started here."""
    timeout: Annotated[float, Within(0, unit="s", above=True)] | None = None
    """Seconds that each part of the work may take; then it is stopped."""
    memory: Annotated[int, Within(1, unit="MB")] | None = None
    """MB that a process may hold; then it is stopped."""
    tries: Annotated[int, Within(1)] = 3
    """How often a part of the work is begun that was stopped or had its process die."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def limits(self) -> Limits:
        """What a job may cost."""
        return Limits(self.timeout, self.memory, self.tries)

    @property
    def alone(self) -> bool:
        """Whether this process may do it by itself: nobody asked for others, nor for limits."""
        others = self.ray is not None or (self.jobs or 1) > 1
        return not others and self.timeout is None and self.memory is None

    @contextmanager
    def gathered(self) -> Iterator[str | None]:
        """Have them at hand for as long as the block runs; gives what the cluster is, in words."""
        if self.ray is None:
            yield None
            return
        from unveil.batch.actors import joined

        with joined(self.ray, self.jobs) as cluster:
            yield cluster

    def count(self, device: str | None) -> int:
        """How many work at once. device: that the work is for."""
        if self.jobs is not None or self.ray is None:
            return self.jobs or 1
        from unveil.batch.actors import seats

        return seats(device)

    def crew(self, tasks: int, work: Any, logs: Path, sources: Sequence[str] = ()) -> Crew:
        """Workers for so many tasks, in processes. sources: what all of them have to see."""
        if self.ray is None:
            from unveil.batch.processes import Processes

            count = min(self.jobs or 1, tasks)
            return Processes(count, replace(work, threads=threads(count)), self.limits, logs)
        from unveil.batch.actors import Actors

        here = (Path(s).absolute() for s in sources if as_address(s) is None)
        seen = [path for path in here if path.exists()]
        return Actors(work, self.limits, logs, most=tasks, jobs=self.jobs, sources=seen)

    def do(
        self,
        jobs: Sequence[Job],
        work: Any,
        place: Path,
        *,
        sources: Sequence[str] = (),
        ended: Callable[[Job, Outcome], None] = lambda job, outcome: None,
        report: Progress = silent,
    ) -> None:
        """Do all jobs; ended is told of each that is done or failed for good.

        place: a folder for the ledger and the logs. report: told how far the job is, where this
        process does it by itself. Raises what would fail every job.
        """
        from unveil.batch.here import Here
        from unveil.batch.ledger import Ledger
        from unveil.batch.run import clear, place_of_logs, run

        if not jobs:
            return
        with Ledger(place) as ledger:
            ledger.begin(list(jobs), {"jobs": self.jobs, "ray": self.ray})
            if self.alone:
                run(jobs, Here(work, report), ledger, Limits(tries=1), ended, lambda seen: None)
                return
            try:
                crew = self.crew(len(jobs), work, place_of_logs(place), sources)
                run(jobs, crew, ledger, self.limits, ended, lambda seen: None)
            finally:
                clear(work.out, jobs)


def threads(workers: int) -> int | None:
    """Threads of each of so many workers; None, as torch wishes, where there is one."""
    if workers == 1:
        return None
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (here or 1) // workers)
