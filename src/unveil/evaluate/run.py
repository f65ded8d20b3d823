"""Score a dataset sequence by sequence: resumable, on several cores, and past what is broken."""

import logging
import multiprocessing
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from unveil.datasets import Dataset
from unveil.datasets import Sequence as Video
from unveil.errors import UnveilError
from unveil.evaluate import cache, protocols
from unveil.evaluate.own import plain, segmented
from unveil.evaluate.predictions import Prediction, fingerprint, locate, read_prediction
from unveil.evaluate.published import published
from unveil.evaluate.task import Progress, Result, Task
from unveil.metrics import Measured
from unveil.settings import Settings

log = logging.getLogger(__name__)

_SCORED_BY = ("metrics", "evaluate", "datasets", "images", "objects")  # what a score depends on


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
        names: protocols, of `unveil.evaluate.protocols.NAMES`.
        predictions: a folder as `unveil.evaluate.predictions` describes; None runs Unveil.
        settings: of Unveil, where it runs.
        out: a folder for what is kept between runs: scores, and the masks of Unveil.
        jobs: processes that score.
        on_progress: told of every sequence.

    Returns the record that `unveil.report.evaluation` draws. A sequence that cannot be scored is
    in its `failures`, and the others are scored.
    """
    protocols.check(names)
    own = predictions is None
    place = out / "predictions" if own else predictions
    tasks = [
        Task(s, place, tuple(names), own, out / "sequences" / f"{s.name}.json")
        for s in dataset.sequences
    ]
    made = segmented(tasks, settings or Settings(), on_progress) if own else iter(tasks)
    done = {r["sequence"]: r for r in _scored(made, len(tasks), jobs, on_progress)}
    ordered = [done[s.name] for s in dataset.sequences]
    scored = [r for r in ordered if "error" not in r]
    return {
        "dataset": {
            "name": dataset.name,
            "root": str(dataset.root),
            "split": dataset.split,
            "sequences": [s.name for s in dataset.sequences],
        },
        "method": {
            "name": f"Unveil {version('unveil')}" if own else predictions.name or str(predictions),
            "predictions": None if own else str(predictions),
            "settings": plain(settings or Settings()) if own else {},
        },
        "protocols": {
            name: {
                **protocols.summary(name, scored),
                "published": published(dataset.name, name),
            }
            for name in names
        },
        "failures": [r for r in ordered if "error" in r],
        "versions": {
            "unveil": version("unveil"),
            "numpy": np.__version__,
            "scipy": version("scipy"),
            "python": platform.python_version(),
            "metrics": cache.code_digest("metrics"),
        },
    }


def score(task: Task) -> Result:
    """Score one sequence, or take its score from an earlier run. Never raises for its data."""
    name, place = task.sequence.name, None
    try:
        place = locate(task.predictions, name)
        key = _key(task, place)
        if key and (kept := cache.load(task.cached, key)) is not None:
            return kept
        start = time.perf_counter()
        truth, prediction = read(task.sequence, place)
        measured = Measured(prediction.labels, truth, prediction.scores)
        result = {
            "sequence": name,
            "note": task.sequence.note,
            "frames": len(truth),
            "size": list(truth.shape[1:]),
            "objects": len(measured.objects),
            "proposals": len(measured.ids),
            "scores": protocols.score_all(task.protocols, measured, drop=task.own),
            "seconds": round(time.perf_counter() - start, 3),
        }
        if key:
            cache.store(task.cached, key, result)
        return result
    except UnveilError as error:
        return {"sequence": name, "error": f"{place or task.predictions}: {error}"}
    except Exception as error:  # one sequence must not end the others
        log.exception("%s could not be scored", name)
        return {"sequence": name, "error": f"{type(error).__name__}: {error}"}


def read(sequence: Video, place: Path) -> tuple[np.ndarray, Prediction]:
    """The ground truth [T, H, W] of a sequence, and the prediction for it."""
    truth = sequence.truth()
    _, h, w = truth.shape
    names = sequence.frame_names()
    return truth, read_prediction(place, names, (h, w), sequence.name)


def _key(task: Task, place: Path) -> str | None:
    """What the score of a sequence depends on; None where the ground truth is not there."""
    origin = task.sequence.origin
    if not origin.exists():
        return None
    return cache.digest(
        cache.code_digest(*_SCORED_BY),
        task.protocols,
        task.own,
        str(task.sequence),
        fingerprint(origin),
        str(place),
        fingerprint(place),
    )


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
    # A forked child may hang on the threads of its parent's libraries; a spawned one cannot.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, total), context) as pool:
        waiting: list[Future[Result]] = []
        for task in made:
            if isinstance(task, Task):
                waiting.append(pool.submit(score, task))
            else:
                yield told(task)
        for future in as_completed(waiting):
            yield told(future.result())
