"""The datasets by name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unveil.address import as_path
from unveil.datasets import davis, folder, movi, ytvis
from unveil.datasets.sequence import Dataset, Finding
from unveil.errors import DataError

NAMES = (
    "davis2016",
    "davis2017",
    "ytvis2019",
    "ytvis2021",
    "movi",
    *(f"movi-{v}" for v in movi.VARIANTS),
    "folder",
)
"""What `unveil evaluate` and `unveil data check` take; `movi` is whichever variant is there."""


def open_dataset(
    name: str,
    root: str | Path,
    *,
    split: str | None = None,
    frames: str | Path | None = None,
    masks: str | Path | None = None,
    sequences: Iterable[str] | None = None,
) -> Dataset:
    """A dataset in its official layout at root; nothing but its lists is read yet.

    split: one of its lists, the usual one by default. frames, masks: for `folder` only. sequences:
    only these, in this order; DAVIS needs no list then. Raises DataError for an unknown name, and
    where its lists are missing or broken.
    """
    root = _root(name, root, split, frames, masks)
    if name.startswith("davis"):
        return davis.open_davis(root, int(name[5:]), split, sequences)
    dataset: Dataset[Any]
    if name == "folder":
        dataset = folder.open_folder(root, frames, masks)
    elif name.startswith("ytvis"):
        dataset = ytvis.open_ytvis(root, int(name[5:]), split)
    else:
        dataset = movi.open_movi(root, name.partition("-")[2] or None, split)
    return dataset if sequences is None else dataset.select(sequences)


def check_dataset(
    name: str,
    root: str | Path,
    *,
    split: str | None = None,
    frames: str | Path | None = None,
    masks: str | Path | None = None,
) -> list[Finding]:
    """What of a dataset is at root, what is missing, and where to get it."""
    root = _root(name, root, split, frames, masks)
    if name == "folder":
        return folder.check_folder(root, frames, masks)
    if name.startswith("davis"):
        return davis.check_davis(root, int(name[5:]), split)
    if name.startswith("ytvis"):
        return ytvis.check_ytvis(root, int(name[5:]), split)
    return movi.check_movi(root, name.partition("-")[2] or None, split)


def _root(
    name: str,
    root: str | Path,
    split: str | None,
    frames: str | Path | None,
    masks: str | Path | None,
) -> Path:
    """The folder, once name and arguments are known to make sense together."""
    root = as_path(root)
    if name not in NAMES:
        raise DataError(f"no dataset {name!r}; there are {', '.join(NAMES)}")
    if not root.is_dir():
        raise DataError(f"{root} is no folder: --root is where {name} lies")
    if name == "folder" and split is not None:
        raise DataError("--split has no meaning for a folder")
    if name != "folder" and (frames is not None or masks is not None):
        raise DataError(f"--frames and --masks belong to the dataset 'folder', not to {name}")
    return root
