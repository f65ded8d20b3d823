"""Score one sequence; what a process that only scores has to import, so nothing of torch."""

import logging
import time
from pathlib import Path

import numpy as np

from unveil.datasets import Chunk, Sequence
from unveil.errors import DataError, UnveilError, unforeseen
from unveil.evaluate import cache, protocols
from unveil.evaluate.predictions import (
    OtherSizeError,
    Prediction,
    fingerprint,
    locate,
    read_prediction,
)
from unveil.evaluate.task import Result, Task
from unveil.metrics import VOID, Measured

log = logging.getLogger(__name__)

_SCORED_BY = ("metrics", "evaluate", "datasets", "video", "results")  # what a score depends on


def score(task: Task) -> Result:
    """Score one sequence, or take its score from an earlier run. Never raises for its data."""
    name, place = task.sequence.name, None
    try:
        place, of = find(task.sequence, task.predictions)
        key = _key(task, place)
        if key and (kept := cache.load(task.cached, key)) is not None:
            return kept
        start = time.perf_counter()
        truth, prediction = read(task.sequence, place, of)
        if isinstance(task.sequence, Chunk) and np.isin(truth, (0, VOID)).all():
            return {"sequence": name, "frames": len(truth), "empty": True}
        measured = Measured(prediction.labels, truth, prediction.scores, prediction.tracks)
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
        said = str(error)
        named = place is None or str(place) in said or str(task.sequence.origin) in said
        return {"sequence": name, "error": said if named else f"{place}: {said}"}
    except Exception as error:  # one sequence must not end the others
        log.exception("%s could not be scored", name)
        return {"sequence": name, "error": unforeseen(error)}


def find(sequence: Sequence, predictions: Path) -> tuple[Path, Sequence]:
    """Where the prediction for a sequence lies, and for what it is.

    That is the sequence; of a chunk that has none of its own the video that it is a chunk of.
    Raises DataError where neither is there.
    """
    if isinstance(sequence, Chunk):
        try:
            return locate(predictions, sequence.name, listed=False), sequence
        except DataError:
            return locate(predictions, sequence.whole.name), sequence.whole
    return locate(predictions, sequence.name), sequence


def read(sequence: Sequence, place: Path, of: Sequence) -> tuple[np.ndarray, Prediction]:
    """The ground truth [T, H, W] of a sequence, and the prediction for it.

    place, of: as `find` gives them. A chunk that is all of its video is called like that: where its
    masks are not of the chunk's size they are the video's.
    """
    if not isinstance(sequence, Chunk):
        truth = sequence.truth()
        return truth, _prediction(place, sequence, truth)
    whole = sequence.whole.truth()
    shown = sequence.labels(whole)
    if of is sequence:
        try:
            return shown, _prediction(place, sequence, shown)
        except OtherSizeError:
            if sequence.number is not None:
                raise
    return shown, _prediction(place, sequence.whole, whole).chunk(sequence)


def _prediction(place: Path, of: Sequence, truth: np.ndarray) -> Prediction:
    _, h, w = truth.shape
    return read_prediction(place, of.frame_names(), (h, w), of.name, of.video_id)


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
