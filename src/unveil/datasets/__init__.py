"""Annotated videos: readers of the official layouts, and a synthetic benchmark."""

from unveil.datasets.catalogue import NAMES, check_dataset, open_dataset
from unveil.datasets.sequence import Dataset, Finding, Sequence

__all__ = ["NAMES", "Dataset", "Finding", "Sequence", "check_dataset", "open_dataset"]
