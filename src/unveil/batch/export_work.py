"""What a worker does with one result: write it in one form of another tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unveil.batch.job import Job, Outcome
from unveil.batch.work import Work
from unveil.exports.formats import export as write
from unveil.exports.formats import find_format
from unveil.exports.result import open_result
from unveil.progress import Progress
from unveil.results.folder import RUN


@dataclass
class ExportWork(Work):
    """Writes results, the source of a job, to its option `place` in the form that is its option
    `form`.

    source: the video, where it is no longer where it was. objects, every, names: what of a result
    is taken, see `Result.select`. options: of all forms. again: replace earlier exports.
    """

    source: Path | None = field(default=None, kw_only=True)
    objects: Sequence[int] | None = field(default=None, kw_only=True)
    every: int = field(default=1, kw_only=True)
    names: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    again: bool = field(default=False, kw_only=True)

    def do(self, job: Job, report: Progress) -> Outcome:
        """Export one result to one form. Raises what `unveil.exports.formats.export` raises."""
        name = job.options["form"]
        form = find_format(name)
        result = open_result(job.source, self.source)
        if "soft" in form.options and self.options.get("soft", True):
            from unveil.segmentation.soft_edges import with_soft_edges  # torch with it

            result = with_soft_edges(result, Path(job.source))
        result = result.select(self.objects, self.every, self.names)
        taken = {k: v for k, v in self.options.items() if k in form.options}

        def told(stage: str, done: int, total: int | None) -> None:
            report(f"to {name}", done, total)

        write(result, job.options["place"], name, again=self.again, on_progress=told, **taken)
        return Outcome(frames=len(result), height=result.height, width=result.width)


def results_in(folder: Path) -> list[Path]:
    """The results in the folder of a batch, by name; itself where it is none."""
    inside = sorted(run.parent for run in folder.glob(f"*/{RUN}"))
    return inside if inside and not (folder / RUN).is_file() else [folder]
