"""One sequence to score, and what is handed around about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil.datasets import Sequence

Result = dict[str, Any]
"""What scoring a sequence gives, as results.json holds it: `scores` by protocol, or `error`, or
`empty` where a chunk of a video shows no object."""


@dataclass(frozen=True)
class Task:
    """One sequence to score: the prediction under a folder, by these protocols.

    own: whether Unveil made the prediction, so that proposals beyond a protocol's limit are
    dropped by their score instead of refused. cached: where the result is kept.
    """

    sequence: Sequence
    predictions: Path
    protocols: tuple[str, ...]
    own: bool
    cached: Path
