"""A crew of one: the process that asks. Nothing is started, and nothing is limited."""

import time
from dataclasses import replace

from unveil.batch.crew import Task
from unveil.batch.job import Outcome
from unveil.batch.worker import DoesWork
from unveil.progress import Progress, silent


class Here:
    """Does a job when it is waited for. report: told how far each is."""

    def __init__(self, work: DoesWork, report: Progress = silent) -> None:
        self._work, self._report = work, report
        self._task: Task | None = None

    def free(self) -> int:
        """How many have nothing to do."""
        return int(self._task is None)

    def give(self, task: Task) -> str:
        """Take a task."""
        self._task = task
        return "this process"

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """Do the task; the time is not kept."""
        if self._task is None:
            return []
        task, self._task = self._task, None
        began = time.monotonic()
        outcome = self._work(task.job, self._report)
        return [(task, replace(outcome, seconds=time.monotonic() - began))]

    def underway(self) -> int:
        """Frames of what is not done: none, for nobody asks meanwhile."""
        return 0

    def close(self) -> None:
        """Nothing is left to end."""
