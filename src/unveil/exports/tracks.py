"""One row an object and frame: CSV and Parquet, and a plot of them over time."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unveil.exports.extra import need
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.extents import extents
from unveil.text import writable

COLUMNS = {
    "id": ("int32", "of the object, the same in every frame"),
    "name": ("string", "given by a person, else empty"),
    "class": ("string", "object where nobody said"),
    "frame": ("int32", "its number in the result, from 0"),
    "frame_name": ("string", "after which its mask is named"),
    "time_s": ("float64", "seconds since the first frame of the result"),
    "left_px": ("int32", "of the box, from the left edge"),
    "top_px": ("int32", "of the box, from the upper edge"),
    "width_px": ("int32", "of the box"),
    "height_px": ("int32", "of the box"),
    "centre_x_px": ("float64", "mean of the pixels' centres, from the left edge"),
    "centre_y_px": ("float64", "mean of the pixels' centres, from the upper edge"),
    "area_px": ("int32", "pixels of the mask"),
    "score": ("float64", "0 … 1, of the object as a whole; empty where there is none"),
}
"""Column → its type and what it means."""
_ROWS = 50_000  # of a group in Parquet, and what is held in memory


def rows(result: Result, stage: str, report: Progress) -> Iterator[tuple[Any, ...]]:
    """The values of COLUMNS for every object and frame, frame by frame, then by id."""
    things = {thing.id: thing for thing in result.things}
    rate = result.fps * (result.chosen.step)
    for i, (index, labels) in enumerate(zip(result.chosen, result.labels(), strict=True)):
        for id, seen in extents(labels).items():
            thing = things[id]
            x, y = (round(v, 3) for v in seen.centre)
            time = round(float(index / rate), 6)
            where = (index, result.frame_names[index], time)
            about = (id, thing.name, thing.kind)
            yield (*about, *where, *seen.box, x, y, seen.area, thing.score)
        report(stage, i + 1, len(result))


def write_csv(result: Result, out: Path, report: Progress) -> None:
    """A table that pandas and spreadsheets read; units are in the names of the columns."""
    with out.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows(result, "csv", report))


def write_parquet(result: Result, out: Path, report: Progress) -> None:
    """The same table for Arrow, typed, what a column means in its metadata."""
    arrow = need("pyarrow", "parquet")
    parquet = need("pyarrow.parquet", "parquet")
    schema = arrow.schema(
        [
            arrow.field(name, arrow.type_for_alias(kind), metadata={"meaning": meaning})
            for name, (kind, meaning) in COLUMNS.items()
        ]
    )
    with parquet.ParquetWriter(out, schema) as writer:
        for part in _parts(rows(result, "parquet", report)):
            columns = list(zip(*part, strict=True)) if part else [()] * len(COLUMNS)
            arrays = [
                arrow.array(_texts(c) if f.type == arrow.string() else c, type=f.type)
                for c, f in zip(columns, schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _texts(column: Iterable[str | None]) -> list[str | None]:
    return [None if text is None else writable(text) for text in column]


def _parts(every: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    part: list[tuple[Any, ...]] = []
    for row in every:
        part.append(row)
        if len(part) == _ROWS:
            yield part
            part = []
    yield part
