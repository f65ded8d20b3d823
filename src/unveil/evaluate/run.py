"""Score a dataset sequence by sequence: resumable, on several cores, and past what is broken."""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unveil.batch.job import Job, Outcome
from unveil.batch.workers import Workers
from unveil.datasets import Dataset
from unveil.evaluate import cache, protocols
from unveil.evaluate.inference import made_by
from unveil.evaluate.published import published
from unveil.evaluate.task import Result, Task
from unveil.evaluate.work import EvaluateWork
from unveil.progress import Progress, silent
from unveil.settings import Settings
from unveil.synthetic.benchmark import is_made

_SCORE_WITH = ("unveil", "numpy", "scipy", "pycocotools")
_SEGMENT_WITH = ("torch", "transformers", "av")


def evaluate(
    dataset: Dataset,
    names: Sequence[str],
    *,
    predictions: Path | None = None,
    settings: Settings | None = None,
    out: Path,
    workers: Workers | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Score predictions, or Unveil itself, on a dataset.

    Args:
        dataset: what to score on.
        names: protocols, of `unveil.metrics.PROTOCOLS`.
        predictions: a folder as `unveil.evaluate.predictions` describes; None runs Unveil.
        settings: of Unveil, where it runs.
        out: a folder for what is kept between runs: scores, and the masks of Unveil.
        workers: who segments and scores; this process by default. They are at hand already. The
            ledger and the logs lie in `out`.
        on_progress: told of every sequence.

    Returns the record that `unveil.evaluate.page` draws. A sequence that cannot be scored is
    in its `failures`, a chunk of a video that shows no object in `empty`; the others are scored.
    """
    protocols.check(names)
    own = predictions is None
    if own:
        from unveil.segmentation.preconditions import check_settings  # seconds by itself

        check_settings(settings or Settings())
    place = out / "predictions" if predictions is None else predictions
    tasks = [
        Task(s, place, tuple(names), own, out / "sequences" / f"{s.name}.json")
        for s in dataset.sequences
    ]
    work = EvaluateWork(
        out / "predictions" if own else out / "sequences",
        settings or Settings(),
        made_by=made_by(settings or Settings()) if own else None,
    )
    ordered = list(_scored(tasks, work, out, workers or Workers(), on_progress or silent))
    scored = [r for r in ordered if "scores" in r]
    synthetic = is_made(dataset.root)
    return {
        "dataset": {
            "name": dataset.name,
            "root": str(dataset.root),
            "split": f"synthetic, {dataset.split}" if synthetic else dataset.split,
            "sequences": [s.name for s in dataset.sequences],
        },
        "method": {
            "name": place.name or str(place) if predictions else f"Unveil {version('unveil')}",
            "predictions": None if own else str(predictions),
            "settings": (settings or Settings()).plain() if own else {},
        },
        "protocols": {name: protocols.summary(name, scored) for name in names},
        # A layout can be borrowed; what others published was not measured on our clips.
        "published": [] if synthetic else published(dataset.name),
        "failures": [r for r in ordered if "error" in r],
        "empty": [r["sequence"] for r in ordered if "empty" in r],
        "versions": {
            **{p: version(p) for p in (*_SCORE_WITH, *(_SEGMENT_WITH if own else ()))},
            "python": platform.python_version(),
            "metrics": cache.code_digest("metrics"),
        },
    }


def _scored(
    tasks: Sequence[Task], work: EvaluateWork, out: Path, workers: Workers, on_progress: Progress
) -> Iterator[Result]:
    """The results of tasks, in their order; of what a worker died over, its failure."""
    jobs = [
        # A name may hold a slash, and is that of a log.
        Job(quote(task.sequence.name, safe=" "), str(task.sequence.origin), options={"task": task})
        for task in tasks
    ]
    done: dict[str, Result] = {}

    def ended(job: Job, outcome: Outcome) -> None:
        failed = {"sequence": job.options["task"].sequence.name, "error": outcome.error}
        done[job.name] = outcome.result or failed
        on_progress("evaluating", len(done), len(jobs))

    workers.do(jobs, work, out, sources=[job.source for job in jobs], ended=ended)
    return (done[job.name] for job in jobs)
