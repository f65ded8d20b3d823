"""A run as it goes on: a bar on the terminal, JSON lines, TensorBoard, trials of the block.

Only the first process watches. `log.jsonl` holds one object a line, told apart by `kind`: start,
step, trial, skip. After an interruption, lines past the checkpoint are removed, so that a resumed
run's log reads like that of one never interrupted.
"""

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from unveil.attention.block import Block
from unveil.errors import TrainingError
from unveil.files import written_whole
from unveil.training.features import ClipFeatures
from unveil.training.loop import StepRecord, Watcher
from unveil.training.panels import draw_attention
from unveil.training.recipe import Recipe
from unveil.training.report import draw_report
from unveil.training.start import new_block
from unveil.training.trial import try_block

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
Show = Callable[[str, int, int | None, str], None]


class _Open(NamedTuple):
    """What a run that began has open, and the block that it is compared with."""

    log: TextIO
    board: "SummaryWriter"
    untrained: Block


class Monitor(Watcher):
    """Writes into a run's folder, and tells `show` (stage, done, total, words) what goes on."""

    def __init__(self, out: Path, recipe: Recipe, show: Show | None = None) -> None:
        self.out, self.recipe = out, recipe
        self._show = show or (lambda stage, done, total, words: None)
        self.skipped_clips: dict[str, str] = {}
        self._begun: _Open | None = None

    def close(self) -> None:
        """Flush and close what is open."""
        if self._begun is not None:
            self._begun.log.close()
            self._begun.board.close()
            self._begun = None

    def features(self, done: int, total: int, name: str) -> None:
        """Move the bar of the features."""
        self._show("features", done, total, name)

    def skipped(self, name: str, reason: str) -> None:
        """Remember a clip that cannot be used."""
        self.skipped_clips[name] = reason

    def started(
        self, step: int, train: Sequence[ClipFeatures], held: Sequence[ClipFeatures]
    ) -> None:
        """Open the log, cut to the checkpoint, and note the clips."""
        # TensorBoard takes a second to import, which only a run that begins should pay.
        from torch.utils.tensorboard import SummaryWriter

        self.out.mkdir(parents=True, exist_ok=True)
        before = [] if step == 0 else [r for r in read_log(self.out) if r.get("step", 0) <= step]
        lines = "".join(json.dumps(record) + "\n" for record in before)
        with written_whole(self.out / LOG) as partial:
            partial.write_text(lines)
        # As published: at random, whatever the run starts from.
        random = dataclasses.replace(self.recipe, start="random")
        self._begun = _Open(
            (self.out / LOG).open("a", buffering=1),
            SummaryWriter(str(self.out / "tensorboard"), purge_step=step + 1),
            new_block(random, train[0]).eval(),
        )
        names = {"train": [c.clip.name for c in train], "held": [c.clip.name for c in held]}
        self._write("start", {"step": step, **names, "skipped": self.skipped_clips})

    def stepped(self, record: StepRecord) -> None:
        """Log a step."""
        numbers = dataclasses.asdict(record)
        self._write("step", numbers)
        for name in ("semantic", "motion", "lr", "grad_norm"):
            self._open.board.add_scalar(name, numbers[name], record.step)
        words = (
            f"semantic {record.semantic:.3f}, motion {record.motion:.3f}, lr {record.lr:.1e}, "
            f"{record.seconds:.2f} s"
        )
        self._show("steps", record.step, self.recipe.steps, words)

    def tried(self, step: int, block: Block, held: Sequence[ClipFeatures]) -> None:
        """Try the block on the held-out clips; log it and draw its attention beside untrained."""
        if not held:
            return
        block = copy.deepcopy(block).cpu().eval()
        trial = dataclasses.asdict(try_block(step, block, held))
        self._write("trial", trial)
        for name in sorted(trial.keys() - {"step"}):
            self._open.board.add_scalar(f"trial/{name}", trial[name], step)
        picture = self.out / "attention" / f"{step:06d}.png"
        draw_attention(picture, self._open.untrained, block, held, step)

    def report(self) -> Path:
        """Draw `report.png` from the log."""
        return draw_report(self.out, read_log(self.out))

    @property
    def _open(self) -> _Open:
        if self._begun is None:
            raise TrainingError(f"the log of {self.out} is not open: call started first")
        return self._begun

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        self._open.log.write(json.dumps({"kind": kind, **record}) + "\n")


def read_log(out: Path) -> list[dict[str, Any]]:
    """The records of a run's log; a last line cut short by a kill is left out."""
    records = []
    try:
        text = (out / LOG).read_text()
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
