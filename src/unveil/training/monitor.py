"""A run as it goes on: a bar on the terminal, JSON lines, TensorBoard, trials of the module.

Only the first process watches. `log.jsonl` holds one object a line, told apart by `kind`: start,
step, trial, skip. After an interruption, lines past the checkpoint are removed, so that a resumed
run's log reads like that of one never interrupted.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from torch import nn

from unveil.errors import TrainingError
from unveil.files import written_whole
from unveil.training.watcher import StepRecord, Watcher

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
Show = Callable[[str, int, int | None, str], None]


class _Open(NamedTuple):
    """What a run that began has open."""

    log: TextIO
    board: "SummaryWriter"


class Monitor(Watcher):
    """Writes into a run's folder, and tells `show` (stage, done, total, words) what goes on.

    What it tries, and what its report shows, is for each method to say.
    """

    def __init__(self, out: Path, steps: int, show: Show | None = None) -> None:
        self.out, self.steps = out, steps
        self._show = show or (lambda stage, done, total, words: None)
        self.skipped_clips: dict[str, str] = {}
        self._begun: _Open | None = None

    def close(self) -> None:
        """Flush and close what is open."""
        if self._begun is not None:
            self._begun.log.close()
            self._begun.board.close()
            self._begun = None

    def prepared(self, what: str, done: int, total: int, name: str) -> None:
        """Move the bar of what is being computed."""
        self._show(what, done, total, name)

    def skipped(self, name: str, reason: str) -> None:
        """Remember a clip that cannot be used."""
        self.skipped_clips[name] = reason

    def started(self, step: int, told: Mapping[str, Any]) -> None:
        """Open the log, cut to the checkpoint, and note what is trained on."""
        # TensorBoard takes a second to import, which only a run that begins should pay.
        from torch.utils.tensorboard import SummaryWriter

        self.out.mkdir(parents=True, exist_ok=True)
        before = [] if step == 0 else [r for r in read_log(self.out) if r.get("step", 0) <= step]
        lines = "".join(json.dumps(record) + "\n" for record in before)
        with written_whole(self.out / LOG) as partial:
            partial.write_text(lines)
        self._begun = _Open(
            (self.out / LOG).open("a", buffering=1),
            SummaryWriter(str(self.out / "tensorboard"), purge_step=step + 1),
        )
        self._write("start", {"step": step, **told, "skipped": self.skipped_clips})

    def stepped(self, record: StepRecord) -> None:
        """Log a step."""
        numbers = record.plain()
        self._write("step", numbers)
        for name in (*record.losses, "lr", "grad_norm"):
            self._open.board.add_scalar(name, numbers[name], record.step)
        told = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
        words = f"{told}, lr {record.lr:.1e}, {record.seconds:.2f} s"
        self._show("steps", record.step, self.steps, words)

    def tried(self, step: int, module: nn.Module, held: Sequence[Any]) -> None:
        """Try the module on what is held out, and log what that says."""
        if not held:
            return
        trial = self.trial(step, module, held)
        self._write("trial", {"step": step, **trial})
        for name in sorted(trial):
            self._open.board.add_scalar(f"trial/{name}", trial[name], step)

    def trial(self, step: int, module: Any, held: Sequence[Any]) -> dict[str, Any]:
        """What a trial on what is held out says, a number a name."""
        raise NotImplementedError

    def report(self) -> Path:
        """Draw `report.png` from the log."""
        raise NotImplementedError

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
