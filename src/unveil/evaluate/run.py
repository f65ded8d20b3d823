"""Score a dataset sequence by sequence: resumable, on several cores, and past what is broken."""

import multiprocessing
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil.datasets import Dataset
from unveil.evaluate import cache, protocols
from unveil.evaluate.inference import segmented
from unveil.evaluate.published import published
from unveil.evaluate.scoring import score
from unveil.evaluate.task import Progress, Result, Task
from unveil.settings import Settings
from unveil.synthetic.benchmark import is_made

_SCORE_WITH = ("unveil", "numpy", "scipy", "pycocotools")
_SEGMENT_WITH = ("torch", "transformers", "av")
# A forked child may hang on the threads of its parent's libraries; a spawned one cannot.
_CONTEXT = multiprocessing.get_context("spawn")


def evaluate(
    dataset: Dataset,
    names: Sequence[str],
    *,
    predictions: Path | None = None,
    settings: Settings | None = None,
    out: Path,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Score predictions, or Unveil itself, on a dataset.

    Args:
        dataset: what to score on.
        names: protocols, of `unveil.metrics.PROTOCOLS`.
        predictions: a folder as `unveil.evaluate.predictions` describes; None runs Unveil.
        settings: of Unveil, where it runs.
        out: a folder for what is kept between runs: scores, and the masks of Unveil.
        jobs: processes that score.
        on_progress: told of every sequence.

    Returns the record that `unveil.evaluate.page` draws. A sequence that cannot be scored is
    in its `failures`, and the others are scored.
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
    made = segmented(tasks, settings or Settings(), on_progress) if own else iter(tasks)
    done = {r["sequence"]: r for r in _scored(made, len(tasks), jobs, on_progress)}
    ordered = [done[s.name] for s in dataset.sequences]
    scored = [r for r in ordered if "error" not in r]
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
        "versions": {
            **{p: version(p) for p in (*_SCORE_WITH, *(_SEGMENT_WITH if own else ()))},
            "python": platform.python_version(),
            "metrics": cache.code_digest("metrics"),
        },
    }


def _scored(
    made: Iterator[Task | Result], total: int, jobs: int, on_progress: Progress | None
) -> Iterator[Result]:
    """Score tasks as they come, in this process or in several; failures pass through."""
    done = 0

    def told(result: Result) -> Result:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress("scoring", done, total)
        return result

    if jobs == 1 or total == 1:
        for task in made:
            yield told(score(task) if isinstance(task, Task) else task)
        return
    pool = ProcessPoolExecutor(min(jobs, total), _CONTEXT)
    waiting: dict[Future[Result], Task] = {}
    try:
        for task in made:
            if not isinstance(task, Task):
                yield told(task)
                continue
            try:
                waiting[pool.submit(score, task)] = task
            except BrokenExecutor:
                yield told(_alone(task))
        for future in as_completed(waiting):
            try:
                yield told(future.result())
            except BrokenExecutor:  # one process died, and with it all that were waiting
                yield told(_alone(waiting[future]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(task: Task) -> Result:
    """Score a task in a process of its own, so that its death is nobody else's."""
    with ProcessPoolExecutor(1, _CONTEXT) as pool:
        try:
            return pool.submit(score, task).result()
        except BrokenExecutor:
            error = "the process that scored it died, perhaps out of memory: try --jobs 1"
            return {"sequence": task.sequence.name, "error": error}
