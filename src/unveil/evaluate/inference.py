"""Inference: Unveil run on the sequences of a dataset, its masks kept between runs."""

import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil.errors import DataError, UnveilError, unforeseen
from unveil.evaluate import cache
from unveil.evaluate.predictions import fingerprint
from unveil.evaluate.task import Task
from unveil.features import weights
from unveil.settings import Settings
from unveil.types import Clip

log = logging.getLogger(__name__)

_MADE_BY = (
    *("settings", "types", "video", "features", "attention", "paper", "fast", "slots"),
    *("results", "segmentation", "blocks"),
)
"""The rooms whose code decides what the masks are."""


def made(task: Task, made_by: str, load: Callable[[], Any]) -> str | None:
    """Make the masks of a task unless an earlier run did; what went wrong, or None.

    made_by: what the masks of all sequences depend on. load: gives the segmenter. Raises
    WeightsError where that cannot be had, which would fail every sequence.
    """
    name = task.sequence.name
    out, mark = task.predictions / name, task.predictions / f".{name}.key"
    key = cache.digest(made_by, _seen_by(task))
    if cache.load(mark, key) is not None and (out / "run.json").is_file():
        return None
    error = _segment(load(), task, out)
    if error is None:
        cache.store(mark, key, {})
    return error


def _segment(segmenter: Any, task: Task, out: Path) -> str | None:
    """Segment one sequence; what went wrong, or None."""
    name = task.sequence.name
    try:
        clip = Clip(task.sequence.frames(), name=name, frame_names=task.sequence.frame_names())
        segmenter.segment_to(clip, out)
    except UnveilError as error:
        return str(error)
    except Exception as error:  # one sequence must not end the others
        log.exception("%s could not be segmented", name)
        return unforeseen(error)
    return None


def made_by(settings: Settings) -> str:
    """What the masks of all sequences depend on: code, settings, weights.

    Raises WeightsError where there are no such weights, and none can be fetched.
    """
    s = settings
    trained = [file for file in (s.block, s.head, s.model) if file is not None]
    backbone = s.backbone
    if s.model is not None:
        from unveil.slots.model_file import model_metadata

        backbone = model_metadata(s.model)["backbone"]
    return cache.digest(
        version("unveil"),
        cache.code_digest(*_MADE_BY),
        settings.plain(),
        weights.digest(backbone),
        cache.of_files(trained) if trained else None,
    )


def _seen_by(task: Task) -> str:
    """What the masks of one sequence depend on: its frames, and after which masks they are named.

    Those are read from the annotation. A sequence that cannot be read fails when it is segmented.
    """
    origin = task.sequence.origin
    try:
        frames = cache.of_files(task.sequence.frame_files())
    except DataError:
        frames = "cannot be read"
    annotation = fingerprint(origin) if origin.exists() else None
    return cache.digest(str(task.sequence), annotation, frames)
