"""A result folder that appears whole or not at all."""

import errno
import json
import os
import shutil
import weakref
from pathlib import Path

from unveil.address import out_path
from unveil.errors import OutputError
from unveil.files import beside, check_parent, output_errors, sweep

RUN = "run.json"
EDITS = "edits.jsonl"  # what a person did to a result
OUTPUT = "output"  # the entry of run.json that tells which files belong to the result


class ResultFolder:
    """A temporary folder beside `out` that commit renames to `out`.

    Where `out` holds an earlier result it is replaced, in two renames; anything else in the way
    is an OutputError. Leaving the block without a commit removes the folder and what was created
    for it.

        with ResultFolder(Path("out/dog")) as result:
            (result.path / "masks").mkdir()
            result.commit()
    """

    path: Path
    """Where the files are: a temporary folder once the block is entered, `out` when committed."""

    def __init__(self, out: str | Path, edited: bool = False) -> None:
        self.out, self._edited = out_path(out).absolute(), edited
        with output_errors(self.out):
            if self.out.is_symlink():
                self.out = self.out.resolve()
        check_out(self.out, edited)

    def __enter__(self) -> "ResultFolder":
        parent = self.out.parent
        with output_errors(self.out):
            sweep(self.out)
            if self.out.exists():  # else one of them may be all that is left of a result
                sweep(self.out, "old")
            missing = [p for p in (parent, *parent.parents) if not p.exists()]
            self.path = _free(beside(self.out))
            # Also at the end of a program that Ctrl-C reached before the block was entered.
            self._remove = weakref.finalize(self, _remove, self.path, missing)
            parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
        return self

    def __exit__(self, *exc: object) -> None:
        self._remove()

    def commit(self) -> Path:
        """Put the folder in its place and return that place."""
        check_out(self.out, self._edited)
        with output_errors(self.out):
            old = None
            if self.out.exists():
                old = _free(beside(self.out, "old"))
                self.out.rename(old)
            try:
                self.path.rename(self.out)
            except BaseException:
                if old is not None:
                    old.rename(self.out)
                raise
            self._remove.detach()
            self.path = self.out
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
        return self.out


def check_out(out: str | Path, edited: bool = False) -> None:
    """Raise OutputError unless a result may be put at `out`; call it before the work begins.

    It may be put where nothing is, in an empty folder, and over a result of Unveil to which
    nobody added files. One that was put right by hand is replaced only where `edited` says that its
    edits are carried on.
    """
    out = out_path(out)
    with output_errors(out):
        if not out.exists():
            check_parent(out.absolute())
            return
        if not out.is_dir():
            raise OutputError(f"{out} is a file: choose a folder with --out")
        if not out.absolute().name or out.resolve() == Path.cwd():
            raise OutputError(f"{out} cannot be replaced by a result: choose a folder inside it")
        entries = {p.name for p in out.iterdir()}
        if not os.access(out.resolve().parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "permission denied")
    own = _files_of_result(out / RUN)
    if own and EDITS in entries and not edited:
        raise OutputError(
            f"{out} was put right by hand ({EDITS}), which a new result would lose: choose another "
            "folder with --out, or move that file away"
        )
    foreign = sorted(entries - own - ({EDITS} if own else set()))
    if foreign:
        raise OutputError(
            f"{out} holds files that are not from Unveil ({', '.join(foreign[:3])}"
            f"{', …' if len(foreign) > 3 else ''}): choose another folder with --out, or remove it"
        )


def _files_of_result(run: Path) -> set[str]:
    """The files that a run.json of Unveil lists as its own; none where it is not one."""
    try:
        return set(json.loads(run.read_text())[OUTPUT]["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _remove(folder: Path, parents: list[Path]) -> None:
    """Remove a folder, and the parents that were made for it unless something else is there."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in parents:
        try:
            parent.rmdir()
        except OSError:
            return


def _free(path: Path) -> Path:
    paths = (path if n == 0 else path.with_name(f"{path.name}-{n}") for n in range(1000))
    return next(p for p in paths if not p.exists())
