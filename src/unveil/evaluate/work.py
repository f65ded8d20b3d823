"""What a worker does with one sequence of a dataset: make its masks where Unveil does, score them.

What only scores imports nothing of torch.
"""

from dataclasses import dataclass, field

from unveil.batch.job import Job, Outcome
from unveil.batch.segment_work import SegmentWork
from unveil.evaluate.scoring import score
from unveil.evaluate.task import Result, Task
from unveil.progress import Progress


@dataclass
class EvaluateWork(SegmentWork):
    """Scores sequences, a `Task` each, which is the option `task` of a job.

    made_by: what masks depend on that Unveil makes; None where they are given.
    """

    made_by: str | None = field(default=None, kw_only=True)

    @property
    def wished(self) -> str | None:
        """The device of the settings, where there is something to segment."""
        return "cpu" if self.made_by is None else self.settings.device

    def do(self, job: Job, report: Progress) -> Outcome:
        """Score one sequence; the result is handed back, with `error` where there is none."""
        task: Task = job.options["task"]
        error = None
        if self.made_by is not None:
            from unveil.evaluate.inference import made  # torch with it

            error = made(task, self.made_by, lambda: self.segmenter(report))
        failed: Result = {"sequence": task.sequence.name, "error": error}
        result = score(task) if error is None else failed
        return Outcome(frames=result.get("frames", 0), error=result.get("error", ""), result=result)
