"""A run of the objects' head as it goes on: bars, JSON lines, and a report at its end."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from unveil.errors import TrainingError
from unveil.files import written_whole
from unveil.training.monitor import LOG, Show, read_log
from unveil.training.objects_loop import HeadRecord, HeadWatcher
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.report import draw_losses
from unveil.training.sources import Source


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
        start = next(r for r in reversed(records) if r["kind"] == "start")
        words = f"{self.out.name}: {start['things']} cut-outs of {len(start['clips'])} clips"
        return draw_losses(self.out, records, _LOSSES, words, "composites")

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        if self._log is None:
            raise TrainingError(f"the log of {self.out} is not open: call started first")
        self._log.write(json.dumps({"kind": kind, **record}) + "\n")


_LOSSES = ("objectness", "sameness")
