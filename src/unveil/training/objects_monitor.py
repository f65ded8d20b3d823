"""A run of the objects' head as it goes on: bars, JSON lines, and a report at its end."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from PIL import Image, ImageDraw, ImageFont

from unveil.errors import TrainingError
from unveil.files import written_whole
from unveil.training.chart import Line, draw_chart
from unveil.training.monitor import LOG, Show, read_log
from unveil.training.objects_loop import HeadRecord, HeadWatcher
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.report import REPORT, smoothed
from unveil.training.sources import Source

_SIZE, _HEAD, _GAP = (700, 260), 48, 10
_PAPER, _INK = (250, 250, 248), (28, 28, 30)


class HeadMonitor(HeadWatcher):
    """Writes `log.jsonl` into a run's folder, and tells `show` what goes on.

    After an interruption, lines past the checkpoint are removed.
    """

    def __init__(self, out: Path, recipe: ObjectsRecipe, show: Show | None = None) -> None:
        self.out, self.recipe = out, recipe
        self._show = show or (lambda stage, done, total, words: None)
        self.skipped_clips: dict[str, str] = {}
        self._log: TextIO | None = None

    def close(self) -> None:
        """Flush and close what is open."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def prepared(self, what: str, done: int, total: int, name: str) -> None:
        """Move the bar of the clips or of the composites."""
        self._show(what, done, total, name)

    def skipped(self, name: str, reason: str) -> None:
        """Remember a clip that cannot be used."""
        self.skipped_clips[name] = reason

    def started(self, step: int, sources: Sequence[Source], things: int) -> None:
        """Open the log, cut to the checkpoint, and note the clips."""
        before = [] if step == 0 else [r for r in read_log(self.out) if r.get("step", 0) <= step]
        with written_whole(self.out / LOG) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in before))
        self._log = (self.out / LOG).open("a", buffering=1)
        clips = {s.clip.name: len(s.cut_outs()) for s in sources}
        start = {"step": step, "clips": clips, "things": things, "skipped": self.skipped_clips}
        self._write("start", start)

    def stepped(self, record: HeadRecord) -> None:
        """Log a step."""
        self._write("step", dataclasses.asdict(record))
        words = (
            f"objectness {record.objectness:.3f}, sameness {record.sameness:.3f}, "
            f"lr {record.lr:.1e}, {record.seconds:.2f} s"
        )
        self._show("steps", record.step, self.recipe.steps, words)

    def tried(self, step: int, losses: dict[str, float]) -> None:
        """Log the losses on composites held out."""
        if losses:
            self._write("trial", {"step": step, **losses})

    def report(self) -> Path:
        """Draw `report.png` from the log: losses of the steps, and on composites held out."""
        records = read_log(self.out)
        steps = [r for r in records if r["kind"] == "step"]
        trials = [r for r in records if r["kind"] == "trial"]
        held = [Line(n, [(float(r["step"]), r[n]) for r in trials]) for n in _LOSSES]
        charts = [
            draw_chart("losses", smoothed(steps, *_LOSSES), _SIZE),
            draw_chart("losses on composites held out", held, _SIZE),
        ]
        height = _HEAD + len(charts) * (_SIZE[1] + _GAP)
        sheet = Image.new("RGB", (_SIZE[0] + 2 * _GAP, height), _PAPER)
        start = next(r for r in reversed(records) if r["kind"] == "start")
        words = f"{self.out.name}: {start['things']} cut-outs of {len(start['clips'])} clips"
        draw = ImageDraw.Draw(sheet)
        draw.text((_GAP, 24), words, _INK, ImageFont.load_default(18), anchor="lm")
        for i, chart in enumerate(charts):
            sheet.paste(chart, (_GAP, _HEAD + i * (_SIZE[1] + _GAP)))
        with written_whole(self.out / REPORT) as partial:
            sheet.save(partial, "PNG")
        return self.out / REPORT

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        if self._log is None:
            raise TrainingError(f"the log of {self.out} is not open: call started first")
        self._log.write(json.dumps({"kind": kind, **record}) + "\n")


_LOSSES = ("objectness", "sameness")
