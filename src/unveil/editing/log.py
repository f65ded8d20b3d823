"""The log of edits: a file that only ever grows, one readable line an edit.

    {"unveil": "edits", "version": 1, "cut": {"granularity": null, ...}}
    {"edit": "merge", "objects": [1, 2]}
    {"edit": "undo"}

Every line is on the disk before the edit is taken to have happened, so that a crash loses at most
the edit it interrupts. The header says the cut that the edits start from, for what they make is
a function of the state and the log and of nothing else.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unveil.editing.edits import Edit, parse, plain, standing
from unveil.errors import DataError, InputError
from unveil.files import output_errors
from unveil.settings import cut_wishes

_VERSION = 1


@dataclass(frozen=True)
class Log:
    """A log as it was read.

    cut: the wishes of the cut that the edits start from, as `fast.describe.find` takes them. edits:
    in their order, undone ones and undos too. size: bytes of all whole lines. dropped: bytes of a
    last line that a crash left half written; they are no part of the log.
    """

    cut: dict[str, Any]
    edits: tuple[Edit, ...] = ()
    size: int = 0
    dropped: int = 0


def read(path: Path, cut: dict[str, Any] | None = None) -> Log:
    """The log of a file; an empty one with the given cut where there is no file, or no header yet.

    Raises DataError for a log of another version, and for a line that is no edit, with its number.
    """
    cut = cut or cut_wishes()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Log(cut)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    whole, _, rest = content.rpartition(b"\n")
    size = len(content) - len(rest)
    if size == 0:
        return Log(cut, dropped=len(rest))
    lines = whole.split(b"\n")
    cut = _header(path, lines[0])
    edits = tuple(_edit(path, number, line) for number, line in enumerate(lines[1:], 2))
    return Log(cut, edits, size, len(rest))


def line(edit: Edit) -> str:
    """The line of an edit, without its end."""
    return json.dumps(plain(edit), ensure_ascii=False)


class Pen:
    """Writes to the log of a result: one line at a time, on the disk before `write` returns.

    The file is made with the first edit, so that who only looks changes nothing.

        log = read(folder / EDITS, cut)
        with Pen(folder / EDITS, log) as pen:
            pen.write(Merge((1, 2)))

    Raises OutputError where the file cannot be written.
    """

    def __init__(self, path: Path, log: Log) -> None:
        self.path, self._log = path, log
        self._file: int | None = None

    def __enter__(self) -> "Pen":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def write(self, edit: Edit) -> None:
        """Append one edit."""
        with output_errors(self.path):
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
                os.ftruncate(self._file, self._log.size)  # without the half line of a crash
            if os.lseek(self._file, 0, os.SEEK_END) == 0:
                _append(self._file, header(self._log.cut))
            _append(self._file, line(edit))

    def close(self) -> None:
        """Let go of the file; the next edit opens it again, at its end."""
        if self._file is not None:
            size = os.lseek(self._file, 0, os.SEEK_END)
            os.close(self._file)
            self._file, self._log = None, Log(self._log.cut, size=size)


def _append(file: int, text: str) -> None:
    """A line at the end of an open file, on the disk when this returns."""
    start = os.lseek(file, 0, os.SEEK_END)
    data = (text + "\n").encode()
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, start)  # the disk is full: no half line is left
        raise


def header(cut: dict[str, Any]) -> str:
    """The first line of a log."""
    return json.dumps({"unveil": "edits", "version": _VERSION, "cut": cut})


def text(log: Log) -> str:
    """All lines of a log, as a file holds them."""
    return "\n".join([header(log.cut), *map(line, log.edits), ""])


def digest(log: Log) -> str:
    """SHA-256 of the cut and of the edits that stand: what the objects of a state follow from."""
    done, _ = standing(log.edits)
    return hashlib.sha256(text(replace(log, edits=done)).encode()).hexdigest()


def _header(path: Path, content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
        if said["unveil"] != "edits":
            raise KeyError("unveil")
        version = said["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}, line 1: expected the header of a log of edits; it is not one that Unveil "
            "wrote: move it away, and the result is as it was before any edit"
        ) from error
    if version != _VERSION:
        raise DataError(
            f"{path} is of version {version}, this is a program for version {_VERSION}: open it "
            "with the Unveil that wrote it"
        )
    try:
        return cut_wishes(**said["cut"])
    except (KeyError, TypeError, InputError) as error:
        raise DataError(f"{path}, line 1: no cut to start from: {error}") from error


def _edit(path: Path, number: int, content: bytes) -> Edit:
    try:
        return parse(json.loads(content))
    except (ValueError, InputError) as error:
        raise DataError(f"{path}, line {number}: {error}") from error
