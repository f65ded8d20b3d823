"""A run of a slot model as it goes on: losses on held-out clips, and a report."""

from collections.abc import Sequence
from pathlib import Path

from unveil.slots.model import SlotModel
from unveil.training.features import ClipFeatures
from unveil.training.monitor import Monitor, Show, read_log
from unveil.training.report import draw_losses
from unveil.training.slots_method import SlotMethod


class SlotMonitor(Monitor):
    """Measures the losses on clips that are not trained on."""

    def __init__(self, out: Path, method: SlotMethod, show: Show | None = None) -> None:
        super().__init__(out, method.recipe.steps, show)
        self.method = method

    def trial(self, step: int, module: SlotModel, held: Sequence[ClipFeatures]) -> dict[str, float]:
        """Losses on the held-out clips."""
        return self.method.held_losses(module, held)

    def report(self) -> Path:
        """Draw `report.png` from the log: losses of the steps, and on clips held out."""
        records, recipe = read_log(self.out), self.method.recipe
        start = next(r for r in reversed(records) if r["kind"] == "start")
        words = f"{self.out.name}: {recipe.method}, {len(start['train'])} clips trained on"
        return draw_losses(self.out, records, recipe.losses.names, words, "clips")
