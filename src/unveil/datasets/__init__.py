"""Annotated videos: readers of the official layouts, and a synthetic benchmark."""

from unveil.datasets.catalogue import NAMES, check_dataset, open_dataset
from unveil.datasets.chunks import Chunk, in_chunks
from unveil.datasets.sequence import Dataset, Finding, Sequence

__all__ = [
    "NAMES",
    "Chunk",
    "Dataset",
    "Finding",
    "Sequence",
    "check_dataset",
    "in_chunks",
    "open_dataset",
]
