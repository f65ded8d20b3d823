"""The results of an evaluation as files: results.json, results.md and index.html."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unveil.datasets import Dataset
from unveil.errors import DataError
from unveil.evaluate import cache
from unveil.evaluate.page import best_and_worst, markdown, page, strip
from unveil.evaluate.scoring import find, read
from unveil.metrics import VOID


def write_json(record: Mapping[str, Any], file: Path) -> None:
    """The record as JSON. Raises OutputError where it cannot be written."""
    cache.write(file, json.dumps(record, indent=1) + "\n")


def write_results(
    record: Mapping[str, Any], dataset: Dataset, predictions: Path, out: Path
) -> list[Path]:
    """Write the three files; the page shows the best and the worst sequences.

    predictions: the folder that was scored. Returns the files. Raises OutputError.
    """
    write_json(record, out / "results.json")
    cache.write(out / "results.md", markdown(record))
    best, worst = best_and_worst(record)
    pictures = _pictures(dataset, predictions, [*best, *worst])
    cache.write(out / "index.html", page(record, pictures))
    return [out / "index.html", out / "results.md", out / "results.json"]


def _pictures(dataset: Dataset, predictions: Path, names: list[str]) -> dict[str, bytes]:
    """A strip a sequence, at the size of its annotation; on grey where its frames are not there, or
    not as many, as they need not be.
    """
    pictures = {}
    for sequence in dataset.select(names).sequences if names else ():
        truth, prediction = read(sequence, *find(sequence, predictions))
        try:
            frames = sequence.frames()
        except DataError:
            frames = np.empty((0, 1, 1, 3), np.uint8)
        if len(frames) != len(truth):
            frames = np.full((len(truth), 1, 1, 3), 128, np.uint8)
        pictures[sequence.name] = strip(frames, truth, prediction.labels, VOID)
    return pictures
