"""Unveil's own masks of a dataset, kept between runs."""

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil.errors import UnveilError
from unveil.evaluate import cache
from unveil.evaluate.predictions import fingerprint
from unveil.evaluate.task import Progress, Result, Task
from unveil.settings import Settings
from unveil.types import Clip

log = logging.getLogger(__name__)

_MADE_BY = (
    *("settings", "types", "video", "features", "attention", "paper", "fast", "results"),
    *("segmentation", "blocks"),
)
"""The rooms whose code decides what the masks are."""


def segmented(
    tasks: Sequence[Task], settings: Settings, on_progress: Progress | None
) -> Iterator[Task | Result]:
    """The tasks, each when its masks are there; in place of one that failed, its result.

    Raises WeightsError where the model cannot be loaded, which would fail every sequence.
    """
    segmenter = None
    for i, task in enumerate(tasks):
        name = task.sequence.name
        out, mark = task.predictions / name, task.predictions / f".{name}.key"
        key, error = _key(task, settings), None
        if cache.load(mark, key) is None or not (out / "run.json").is_file():
            if segmenter is None:
                from unveil.segmentation.segmenter import (
                    Segmenter,  # loads models: only where it is needed
                )

                segmenter = Segmenter(settings)
            error = _segment(segmenter, task, out)
            if error is None:
                cache.store(mark, key, {})
        yield task if error is None else {"sequence": name, "error": error}
        if on_progress is not None:
            on_progress("segmenting", i + 1, len(tasks))


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
        return f"{type(error).__name__}: {error}"
    return None


def _key(task: Task, settings: Settings) -> str:
    """What the masks of a sequence depend on."""
    origin, block = task.sequence.origin, settings.block
    return cache.digest(
        version("unveil"),
        cache.code_digest(*_MADE_BY),
        settings.plain(),
        fingerprint(block) if block is not None and block.exists() else None,
        str(task.sequence),
        fingerprint(origin) if origin.exists() else None,
    )
