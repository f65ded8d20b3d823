"""Where an export appears: a file or a folder, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unveil.address import out_path
from unveil.errors import OutputError
from unveil.files import beside, check_parent, output_errors, sweep

MARK = "unveil.json"
"""The file by which a folder is known as an export, and may be replaced by another."""


@contextmanager
def whole(out: Path, again: bool = False) -> Iterator[Path]:
    """A path beside `out` to write a file or a folder to; it becomes `out` when the block ends.

    again: what lies at `out`, or where a link there points, is replaced: a file, or a folder that
    an export wrote. Otherwise nothing may lie there. When the block fails, nothing is left and
    nothing was replaced. Raises OutputError where `out` cannot be written.
    """
    out = out_path(out).absolute()
    check_place(out, again)
    if out.is_symlink():
        out = out.resolve()
    partial = beside(out)
    sweep(out)
    missing = [p for p in out.parents if not p.exists()]
    try:
        with output_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _put(partial, out)
    except BaseException:
        _remove(partial)
        for parent in missing:
            _remove_empty(parent)
        raise


def check_place(out: Path, again: bool = False) -> None:
    """Raise OutputError unless an export may be put at `out`; call it before the work begins."""
    if not out.name:
        raise OutputError(f"{out} cannot hold an export: choose another place with --out")
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        check_parent(out)
        return
    if not again:
        raise OutputError(
            f"{out} is there already: replace it with --again, or choose another with --out"
        )
    if out.is_dir() and not (out / MARK).is_file():
        raise OutputError(f"{out} is not an export of Unveil: choose another place with --out")
    check_parent(out)


def mark(folder: Path, about: dict[str, object]) -> None:
    """Put the file into a folder by which it is known as an export."""
    text = json.dumps(about, indent=2)
    (folder / MARK).write_text(text + "\n", encoding="utf-8")


def _put(partial: Path, out: Path) -> None:
    if not out.is_dir():
        partial.replace(out)
        return
    old = beside(out, "old")
    out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        old.rename(out)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
