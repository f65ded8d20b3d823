"""A run of a model on frozen features as it goes on: losses on held-out clips, and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from unveil.training.features import ClipFeatures
from unveil.training.features_method import FeatureMethod
from unveil.training.monitor import Monitor, Show, read_log
from unveil.training.report import draw_losses


class FeatureMonitor(Monitor):
    """Measures the losses on clips that are not trained on."""

    def __init__(self, out: Path, method: FeatureMethod[Any], show: Show | None = None) -> None:
        super().__init__(out, method.recipe.steps, show)
        self.method = method

    def trial(self, step: int, module: nn.Module, held: Sequence[ClipFeatures]) -> dict[str, Any]:
        """Losses on the held-out clips, means over so many windows of each."""
        windows = min(self.method.recipe.validation_windows, held[0].count)
        return {"windows": windows, **self.method.held_losses(module, held)}

    def report(self) -> Path:
        """Draw `report.png` from the log: losses of the steps, and on clips held out."""
        records, recipe = read_log(self.out), self.method.recipe
        start = next(r for r in reversed(records) if r["kind"] == "start")
        words = f"{self.out.name}: {recipe.method}, {len(start['train'])} clips trained on"
        return draw_losses(self.out, records, tuple(recipe.weights), words, "clips")
