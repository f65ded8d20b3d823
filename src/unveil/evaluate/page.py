"""The report of an evaluation: a Markdown table, an HTML page, and strips of pictures.

Both are drawn from one record, the one that results.json holds:

    dataset    name, root, split, sequences
    method     name, predictions, settings
    protocols  name → title, about, columns, percent, mean, rows (sequence, values, note)
    published  model, data, figures, protocol, same_as, source, not_stated
    failures   sequence, error
    versions   name → version
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image
from scipy.optimize import linear_sum_assignment

from unveil.results.overlay import paint
from unveil.results.palette import colour_index

Record = Mapping[str, Any]

PUBLISHED = "Published by others, not measured here"
ABOUT_PUBLISHED = (
    "In percent, on the full official sets. Each row has a protocol of its own: it can be set "
    "against a figure from here only where it names the same measure, and then on the same videos "
    "and sizes only."
)

_COLUMNS = 6  # frames in a strip
_SIDE = 300  # px, longest side of a frame in a strip
_GAP = 4
_ALPHA, _DIM = 0.72, 0.45  # opacity of objects, brightness of the background around them
_PAPER = (250, 250, 248)


def strip(
    frames: UInt8[np.ndarray, "t _h _w 3"],
    truth: Integer[np.ndarray, "t h w"],
    labels: Integer[np.ndarray, "t h w"],
    void: int = 255,
) -> bytes:
    """Frames over the ground truth over the prediction, as JPEG.

    frames: uint8 [T, H, W, 3], of any size. truth, labels: [T, H, W]. A proposal has the colour of
    the object that it covers best; those that cover none have colours of their own.
    """
    t = len(frames)
    chosen = np.linspace(0, t - 1, min(_COLUMNS, t)).round().astype(int)
    truth = np.where(truth[chosen] == void, 0, truth[chosen])
    labels = recoloured(labels[chosen], truth)
    _, h, w = truth.shape
    scale = min(1, _SIDE / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    cell = (size[0] + _GAP, size[1] + _GAP)
    sheet = Image.new("RGB", (cell[0] * len(chosen) - _GAP, cell[1] * 3 - _GAP), _PAPER)
    for column, index in enumerate(chosen):
        frame = np.array(Image.fromarray(frames[index]).resize((w, h)))
        rows = (
            frame,
            paint(frame, colour_index(truth[column]), _ALPHA, _DIM),
            paint(frame, colour_index(labels[column]), _ALPHA, _DIM),
        )
        for row, picture in enumerate(rows):
            small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(small, (column * cell[0], row * cell[1]))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return file.getvalue()


def recoloured(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Labels with the ids of the true objects that they match best, others above them."""
    ids, mine = np.unique(labels, return_inverse=True)
    true_ids, theirs = np.unique(truth, return_inverse=True)
    joint = np.zeros((len(ids), len(true_ids)))
    np.add.at(joint, (mine.ravel(), theirs.ravel()), 1)
    union = joint.sum(1, keepdims=True) + joint.sum(0, keepdims=True) - joint
    iou = joint / np.maximum(union, 1)
    iou[ids == 0], iou[:, true_ids == 0] = 0, 0
    spare = int(true_ids.max(initial=0)) + 1
    new = np.zeros(len(ids), np.uint16)
    for row, column in zip(*linear_sum_assignment(-iou), strict=True):
        if iou[row, column] > 0:
            new[row] = true_ids[column]
    rest = [i for i in range(len(ids)) if ids[i] and not new[i]]
    new[rest] = np.arange(spare, spare + len(rest))
    return new[mine].reshape(labels.shape)


def markdown(record: Record) -> str:
    """The record as Markdown: a table of means a protocol, and its rows."""
    dataset, method = record["dataset"], record["method"]
    lines = [
        f"# {method['name']} on {dataset['name']}",
        "",
        f"{len(dataset['sequences'])} sequences of `{dataset['root']}` ({dataset['split']})"
        f"{_without(record)}.",
        "",
        *tables(record),
        "## Settings and versions",
        "",
        *(f"- {key}: `{value}`" for key, value in _about(record)),
    ]
    return "\n".join(lines) + "\n"


def tables(record: Record, level: int = 2) -> list[str]:
    """The lines of the protocols' tables, of what failed and of what others published, under
    headings of this level."""
    mark, lines = "#" * level, []
    for name, protocol in record["protocols"].items():
        lines += [f"{mark} {protocol['title']} (`{name}`)", "", protocol["about"], ""]
        lines += [*_pipe(_means(record, protocol)), ""]
        lines += [*_pipe(_rows(protocol)), ""]
    if record["failures"]:
        lines += [f"{mark} Not scored", ""]
        lines += [f"- **{f['sequence']}**: {f['error']}" for f in record["failures"]] + [""]
    if record["published"]:
        lines += [f"{mark} {PUBLISHED}", "", ABOUT_PUBLISHED, ""]
        lines += [*_pipe(_published(record), numbers=0), ""]
    return lines


def page(record: Record, pictures: Mapping[str, bytes]) -> str:
    """The record as one HTML page that needs no other file.

    pictures: sequence → JPEG from `strip`, for those that are shown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("unveil.evaluate", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    best, worst = best_and_worst(record)
    shown = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    return environment.get_template("page.html").render(
        record=record,
        means={name: _means(record, p) for name, p in record["protocols"].items()},
        rows={name: _rows(p) for name, p in record["protocols"].items()},
        published=_published(record),
        published_title=PUBLISHED,
        about_published=ABOUT_PUBLISHED,
        gallery={
            "Best": [n for n in best if n in shown],
            "Worst": [n for n in worst if n in shown],
        },
        pictures=shown,
        without=_without(record),
        about=_about(record),
    )


def best_and_worst(record: Record, count: int = 3) -> tuple[list[str], list[str]]:
    """The sequences with the highest and the lowest first column of the first protocol."""
    protocol = next(iter(record["protocols"].values()), None)
    if protocol is None:
        return [], []
    column = protocol["columns"][0]
    scored = [r for r in protocol["rows"] if r["values"].get(column) is not None]
    names = [r["sequence"] for r in sorted(scored, key=lambda r: -r["values"][column])]
    best = names[: min(count, (len(names) + 1) // 2)]
    return best, [n for n in reversed(names) if n not in best][:count]


def _means(record: Record, protocol: Record) -> list[list[str]]:
    """Header and the means over all sequences."""
    columns = protocol["columns"]
    mine = [_number(protocol["mean"].get(c), protocol, c) for c in columns]
    return [["method", *columns, ""], [record["method"]["name"], *mine, "measured here"]]


def _published(record: Record) -> list[list[str]]:
    """Header and the rows of others, each with what its figures mean."""
    table = [["method", "figures", "on", "protocol", "same measure here", "source", "not stated"]]
    for row in record["published"]:
        figures = ", ".join(f"{name} {value:.1f}" for name, value in row["figures"].items())
        said = [row[k] or "none" for k in ("protocol", "same_as", "source")]
        table.append([row["model"], figures, row["data"], *said, row["not_stated"]])
    return table


def _rows(protocol: Record) -> list[list[str]]:
    columns = protocol["columns"]
    table = [["sequence", *columns, "note"]]
    for row in protocol["rows"]:
        values = [_number(row["values"].get(c), protocol, c) for c in columns]
        table.append([row["sequence"], *values, row["note"]])
    return table


def _number(value: float | int | None, protocol: Record, column: str) -> str:
    """A share as percent with one digit, a count as it is, nothing as a dash."""
    if value is None:
        return "–"
    if column in protocol["percent"]:
        return f"{round(100 * value, 1) + 0.0:.1f}"  # + 0.0: no minus before a zero
    return f"{value:g}" if float(value).is_integer() else f"{value:.2f}"


def _without(record: Record) -> str:
    """What is said of sequences that show no object."""
    count = len(record.get("empty", ()))
    return f"; {count} without an object, which no figure counts" if count else ""


def _about(record: Record) -> list[tuple[str, str]]:
    method = record["method"]
    lines = [("predictions", str(method["predictions"]))] if method["predictions"] else []
    lines += [(f"setting {k}", str(v)) for k, v in sorted(method["settings"].items())]
    return lines + [(k, str(v)) for k, v in record["versions"].items()]


def _pipe(table: Sequence[Sequence[str]], numbers: int | None = None) -> list[str]:
    """A table in Markdown. numbers: how many columns after the first; all but the last if None."""
    head, *rows = table
    count = len(head) - 2 if numbers is None else numbers
    align = ["---"] + ["---:"] * count + ["---"] * (len(head) - 1 - count)
    return ["| " + " | ".join(row) + " |" for row in (head, align, *rows)]
