"""What there is to do: videos, folders, patterns, lists and tables as jobs with names.

    jobs = list_jobs(["holiday/", "more/*.mp4", "list.txt", "clips.csv"])

A folder is its video files; one without any, and without images of its own, its folders of images.
A list is a text file with a source a line; a table (CSV, Parquet) has a column `source` and, where
they are wanted, `name`, `frames`, `start`, `end`, `stride` and settings that need no other model.
Paths in both are relative to the file that holds them.
"""

import csv
import glob
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unveil.address import as_address, as_path, plain_place
from unveil.batch.job import Job
from unveil.batch.storage import listed
from unveil.errors import InputError, UnveilError
from unveil.exports.extra import need
from unveil.text import read_text
from unveil.video.listing import (
    holds_images,
    image_folders_in,
    images_in,
    in_order,
    is_video,
    videos_in,
)

log = logging.getLogger(__name__)

OPTIONS: dict[str, type] = {
    "objects": int,
    "granularity": float,
    "keep_background": bool,
    "min_score": float,
}
"""Settings that a table may give a video: those that need no other model, nor another pass."""
RESERVED = frozenset({"logs", "index.html", "ledger.jsonl"})
"""What a batch itself writes beside its results."""
BYTES_A_FRAME = 20_000
"""Of a video file, to guess its length without opening it: 854x480 at 4 Mbit/s."""
_TABLES, _LIST = {".csv", ".parquet"}, ".txt"
_COLUMNS = {"source", "name", "frames", "start", "end", "stride", *OPTIONS}
_NOTHING = {"", "none", "nan", "null"}


def list_jobs(sources: Sequence[str], **span: Any) -> list[Job]:
    """All videos of all sources, in their order, each with a name of its own.

    span: `start`, `end`, `stride` of those that have none in a table. Raises InputError where a
    table cannot be read, and where two videos would have one name.
    """
    try:
        jobs = [job for source in sources for job in _jobs_of(source, Job("", "", **span))]
    except RecursionError:
        raise InputError(f"{', '.join(sources)}: a list names itself") from None
    if not jobs:
        raise InputError(f"{', '.join(sources)}: expected a video a line, got none")
    return _named(jobs)


def is_many(source: str) -> bool:
    """Whether a source names a number of videos rather than one."""
    source = plain_place(source)
    if as_address(source) is not None:
        return _is_listing(source)
    path = as_path(source)
    if path.suffix.lower() in {*_TABLES, _LIST} and path.is_file():
        return True
    if path.is_dir():
        return bool(_inside(path))
    return not path.exists() and bool(_matches(source))


def tell_what_is_left_out(source: str) -> None:
    """Warn of the folders of images that lie beside the videos, or images, of a folder."""
    path = as_path(source)
    if as_address(source) is not None or not path.is_dir():
        return
    try:
        videos = _inside(path)
        others = [p for p in image_folders_in(path) if p not in videos]
    except InputError:
        return
    if others:
        log.warning(
            "%s holds %d folders of images too (%s%s): %s taken; for the folders give '%s/*/'",
            path,
            len(others),
            ", ".join(p.name for p in others[:3]),
            " …" if len(others) > 3 else "",
            "its video files are" if videos else "its own images, one video, are",
            path,
        )


def _jobs_of(source: str, plain: Job) -> Iterable[Job]:
    if not source:
        raise InputError("nothing to segment: give a video, a folder, a pattern, a list or a table")
    source = plain_place(source)
    if (address := as_address(source)) is not None:
        if not _is_listing(source):
            return [replace(plain, source=address)]
        found = [(a, n) for a, n in listed(address) if is_video(Path(a))]
        if not found:
            raise InputError(f"no videos at {source}")
        return (replace(plain, source=a, frames=n / BYTES_A_FRAME) for a, n in found)
    path = as_path(source)
    if path.is_file() and path.suffix.lower() == _LIST:
        return (job for line in _lines(path) for job in _jobs_of(line, plain))
    if path.is_file() and path.suffix.lower() in _TABLES:
        return (_of_row(row, path, number, plain) for number, row in enumerate(_rows(path), 2))
    try:
        videos = _inside(path) if path.is_dir() else [] if path.exists() else _matches(source)
    except InputError:
        videos = []  # a folder that cannot be read: said of it alone, when its turn comes
    tell_what_is_left_out(source)
    names = [str(video) for video in videos] or [source]
    return (replace(plain, source=name, frames=_frames(name)) for name in names)


def _inside(folder: Path) -> list[Path]:
    """The videos of a folder: its video files, else its folders of images; none where its own
    images are the video.
    """
    if videos := videos_in(folder):
        return videos
    return [] if images_in(folder) else image_folders_in(folder)


def _is_listing(address: str) -> bool:
    """Whether an address is a pattern, or a folder: those end with a slash."""
    return address.endswith("/") or bool({"*", "["} & set(address))


def _matches(pattern: str) -> list[Path]:
    """The videos and folders that a pattern names; none for a pattern of images."""
    found = map(Path, glob.glob(str(as_path(pattern)), recursive=True))
    deep = "**" in Path(pattern).parts  # then all folders on the way are among them
    return in_order(
        p for p in found if is_video(p) or (p.is_dir() and (not deep or holds_images(p)))
    )


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [_beside(path, line) for line in lines if line and not line.startswith("#")]


def _rows(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a table. Raises InputError where it is none, or has no column `source`."""
    try:
        if path.suffix.lower() == ".csv":
            text = read_text(path)
            first = text.partition("\n")[0]
            # Spreadsheets put semicolons where a comma is part of numbers.
            between = max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=between)
            rows: list[Mapping[str, Any]] = list(reader)
            columns = list(reader.fieldnames or [])
        else:
            columns, rows = _parquet(path)
    except UnveilError:
        raise
    except Exception as error:  # pyarrow's own are of many kinds
        raise InputError(f"{path} cannot be read as a table of videos: {error}") from error
    if "source" not in columns:
        raise InputError(f"{path}: expected a column 'source', got {columns}")
    if unknown := sorted(set(columns) - _COLUMNS):
        raise InputError(f"{path}: no meaning for column {unknown}; there are {sorted(_COLUMNS)}")
    return rows


def _parquet(path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
    table = need("pyarrow.parquet", "parquet").read_table(path)
    return table.column_names, table.to_pylist()


def _of_row(row: Mapping[str, Any], path: Path, number: int, plain: Job) -> Job:
    said = {k: v for k, v in row.items() if str(v).strip().lower() not in _NOTHING}
    kinds = {"start": float, "end": float, "stride": int, "frames": float, **OPTIONS}
    try:
        values = {k: _typed(said[k], kind) for k, kind in kinds.items() if k in said}
        source = _beside(path, str(said["source"]))
    except KeyError:
        raise InputError(f"{path}, line {number}: no source") from None
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}") from None
    options = {k: values.pop(k) for k in OPTIONS if k in values}
    frames = values.pop("frames", None) or _frames(source)
    name = str(said.get("name", ""))
    return replace(plain, name=name, source=source, frames=frames, options=options, **values)


def _typed(value: Any, kind: type) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if (found := words.get(str(value).strip().lower())) is None:
            raise ValueError(f"expected yes or no, got {value!r}")
        return found
    number = float(value)
    if kind is int and number != int(number):
        raise ValueError(f"expected a whole number, got {value!r}")
    return kind(number)


def _beside(file: Path, source: str) -> str:
    """A path that a file holds, which is meant relative to that file."""
    if as_address(source) is not None:
        return source
    path = as_path(source)
    return str(path if path.is_absolute() else file.parent / path)


def _frames(source: str) -> float:
    """About how many frames a source has, from what the file system says of it; 0: unknown."""
    path = Path(source)
    if as_address(source) is not None:
        return 0.0
    try:
        if path.is_dir():
            return float(len(images_in(path)))
        return os.stat(path).st_size / BYTES_A_FRAME
    except (OSError, InputError):
        return 0.0


def _named(jobs: list[Job]) -> list[Job]:
    """The jobs with names of their own: the stem, with the suffix where two have the same."""
    names = [job.name or Path(job.source).stem or "video" for job in jobs]
    count = Counter(names)
    folders = [
        Path(job.source).name.replace(".", "-") if count[name] > 1 and not job.name else name
        for name, job in zip(names, jobs, strict=True)
    ]
    twice = sorted(name for name, n in Counter(folders).items() if n > 1)
    if twice:
        raise InputError(
            f"several videos are called {twice[:3]}: segment them one by one, or name them in a "
            "table with the columns source and name"
        )
    for name in folders:
        if name in RESERVED or name.startswith(".") or {"/", "\\", "\0"} & set(name):
            raise InputError(
                f"no folder of a result may be called {name!r}: name the video in a table with the "
                "columns source and name"
            )
    return [replace(job, name=folder) for job, folder in zip(jobs, folders, strict=True)]
