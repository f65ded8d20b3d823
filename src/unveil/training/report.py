"""`report.png`: a run at a glance, drawn from its log.

Losses and learning rate against the step, what the trials on held-out clips found, the last
picture of the attention, and how many clips were used and skipped.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from unveil.files import written_whole
from unveil.training.chart import Line, draw_chart

REPORT = "report.png"
_WIDTH, _HEIGHT, _GAP, _HEAD = 700, 260, 10, 64
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 114)


def draw_report(out: Path, records: list[dict[str, Any]]) -> Path:
    """Draw the report of a run's folder from the records of its log; returns its path."""
    steps = [r for r in records if r["kind"] == "step"]
    trials = [r for r in records if r["kind"] == "trial"]
    charts = [
        draw_chart("losses", smoothed(steps, "semantic", "motion"), (_WIDTH, _HEIGHT)),
        draw_chart("learning rate", smoothed(steps, "lr"), (_WIDTH, _HEIGHT)),
        draw_chart(
            "clusters a window (held-out clips)",
            _of(trials, clusters="tau 1, as published", clusters_calibrated="tau calibrated"),
            (_WIDTH, _HEIGHT),
        ),
        draw_chart(
            "distance of two rows, nats",
            _of(trials, random_kl="anywhere in the clip", neighbour_kl="side by side"),
            (_WIDTH, _HEIGHT),
        ),
        draw_chart("entropy of a row, 1 = uniform", _of(trials, entropy=""), (_WIDTH, _HEIGHT)),
        draw_chart("gradient norm", smoothed(steps, "grad_norm"), (_WIDTH, _HEIGHT)),
    ]
    pictures = sorted((out / "attention").glob("*.png"))
    last = _read(pictures[-1]) if pictures else Image.new("RGB", (1, 1))
    width = max(2 * _WIDTH + 3 * _GAP, last.width + 2 * _GAP)
    height = _HEAD + 3 * (_HEIGHT + _GAP) + last.height + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    _title(sheet, out, records, steps)
    for i, chart in enumerate(charts):
        row, column = divmod(i, 2)
        sheet.paste(chart, (_GAP + column * (_WIDTH + _GAP), _HEAD + row * (_HEIGHT + _GAP)))
    sheet.paste(last, (_GAP, _HEAD + 3 * (_HEIGHT + _GAP)))
    with written_whole(out / REPORT) as partial:
        sheet.save(partial, "PNG")
    return out / REPORT


def draw_losses(
    out: Path, records: list[dict[str, Any]], names: Sequence[str], title: str, held: str
) -> Path:
    """Draw a report of losses alone: those of the steps, and those on what was held out."""
    steps = [r for r in records if r["kind"] == "step"]
    trials = [r for r in records if r["kind"] == "trial"]
    charts = [
        draw_chart("losses", smoothed(steps, *names), (_WIDTH, _HEIGHT)),
        draw_chart(
            f"losses on {held} held out", _of(trials, **{n: n for n in names}), (_WIDTH, _HEIGHT)
        ),
    ]
    height = _HEAD + len(charts) * (_HEIGHT + _GAP)
    sheet = Image.new("RGB", (_WIDTH + 2 * _GAP, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 24), title, _INK, ImageFont.load_default(18), anchor="lm")
    for i, chart in enumerate(charts):
        sheet.paste(chart, (_GAP, _HEAD + i * (_HEIGHT + _GAP)))
    with written_whole(out / REPORT) as partial:
        sheet.save(partial, "PNG")
    return out / REPORT


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _title(sheet: Image.Image, out: Path, records: list[dict], steps: list[dict]) -> None:
    starts = [r for r in records if r["kind"] == "start"]
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 22), out.name, _INK, ImageFont.load_default(22), anchor="lm")
    if not starts:
        return
    start, seconds = starts[-1], sum(r["seconds"] for r in steps)
    words = (
        f"{len(steps):,} steps in {seconds / 60:.1f} min, {len(start['train'])} clips trained on, "
        f"{len(start['held'])} held out, {len(start['skipped'])} skipped"
    )
    if start["skipped"]:
        words += ": " + json.dumps(sorted(start["skipped"]))[1:-1].replace('"', "")
    draw.text((_GAP, 48), words, _FAINT, ImageFont.load_default(14), anchor="lm")


def smoothed(steps: list[dict], *names: str) -> list[Line]:
    """Means over a hundredth of the run each: single steps are two clips and noisy."""
    size = max(1, len(steps) // 100)
    groups = [steps[i : i + size] for i in range(0, len(steps), size)]
    return [
        Line(name, [(float(g[-1]["step"]), sum(r[name] for r in g) / len(g)) for g in groups])
        for name in names
    ]


def _of(trials: list[dict], **names: str) -> list[Line]:
    return [
        Line(label, [(float(t["step"]), float(t[name])) for t in trials if name in t])
        for name, label in names.items()
    ]
