"""A run of the objects' head as it goes on: losses on composites held out, and a report."""

from collections.abc import Sequence
from pathlib import Path

from unveil.attention.objects_head import ObjectsHead
from unveil.training.composite_data import CompositeFeatures
from unveil.training.monitor import Monitor, Show, read_log
from unveil.training.objects_method import HeadMethod
from unveil.training.report import draw_losses


class HeadMonitor(Monitor):
    """Measures the losses on composites that are not trained on."""

    def __init__(self, out: Path, method: HeadMethod, show: Show | None = None) -> None:
        super().__init__(out, method.recipe.steps, show)
        self.method = method

    def trial(
        self, step: int, module: ObjectsHead, held: Sequence[CompositeFeatures]
    ) -> dict[str, float]:
        """Losses on the composites held out."""
        return self.method.held_losses(module, held)

    def report(self) -> Path:
        """Draw `report.png` from the log: losses of the steps, and on composites held out."""
        records = read_log(self.out)
        start = next(r for r in reversed(records) if r["kind"] == "start")
        words = f"{self.out.name}: {start['things']} cut-outs of {len(start['clips'])} clips"
        return draw_losses(self.out, records, ("objectness", "sameness"), words, "composites")
