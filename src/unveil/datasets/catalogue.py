"""The datasets by name."""

from pathlib import Path

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
) -> Dataset:
    """A dataset in its official layout at root; nothing but its lists is read yet.

    split: one of its lists, the usual one by default. frames, masks: for `folder` only.
    Raises DataError for an unknown name, and where its lists are missing or broken.
    """
    call, arguments = _which("open", name, root, split, frames, masks)
    return call(*arguments)


def check_dataset(
    name: str,
    root: str | Path,
    *,
    split: str | None = None,
    frames: str | Path | None = None,
    masks: str | Path | None = None,
) -> list[Finding]:
    """What of a dataset is at root, what is missing, and where to get it."""
    call, arguments = _which("check", name, root, split, frames, masks)
    return call(*arguments)


def _which(verb, name, root, split, frames, masks):
    """The reader's function and its arguments."""
    root = Path(root).expanduser()
    if name not in NAMES:
        raise DataError(f"no dataset {name!r}; there are {', '.join(NAMES)}")
    if not root.is_dir():
        raise DataError(f"{root} is no folder: --root is where {name} lies")
    if name == "folder":
        if split is not None:
            raise DataError("--split has no meaning for a folder")
        return {"open": folder.open_folder, "check": folder.check_folder}[verb], (
            root,
            frames,
            masks,
        )
    if frames is not None or masks is not None:
        raise DataError(f"--frames and --masks belong to the dataset 'folder', not to {name}")
    if name.startswith("davis"):
        calls = {"open": davis.open_davis, "check": davis.check_davis}
        return calls[verb], (root, int(name[5:]), split)
    if name.startswith("ytvis"):
        calls = {"open": ytvis.open_ytvis, "check": ytvis.check_ytvis}
        return calls[verb], (root, int(name[5:]), split)
    calls = {"open": movi.open_movi, "check": movi.check_movi}
    return calls[verb], (root, name.partition("-")[2] or None, split)
