"""Workers, wherever they are: what gives them tries of jobs, and takes back what became of them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from unveil.batch.job import Job, Outcome


@dataclass(frozen=True)
class Task:
    """A try of a job."""

    job: Job
    attempt: int = 1


@runtime_checkable
class Crew(Protocol):
    """Workers, wherever they are."""

    def free(self) -> int:
        """How many have nothing to do."""
        ...

    def give(self, task: Task) -> str:
        """Give a task to one that is free; returns who has it."""
        ...

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, waiting so long for the first."""
        ...

    def underway(self) -> int:
        """Frames that are seen already of videos that are not done."""
        ...

    def close(self) -> None:
        """End all workers, and what they are at."""
        ...
