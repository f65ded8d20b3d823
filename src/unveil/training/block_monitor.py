"""A run of the block as it goes on: trials, attention beside that of an untrained one, a report."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unveil.attention.block import Block
from unveil.training.block_method import BlockMethod
from unveil.training.features import ClipFeatures
from unveil.training.monitor import Monitor, Show, read_log
from unveil.training.panels import draw_attention
from unveil.training.report import draw_report
from unveil.training.start import new_block
from unveil.training.trial import try_block


class BlockMonitor(Monitor):
    """Tries the block, and draws what it attends to."""

    def __init__(self, out: Path, method: BlockMethod, show: Show | None = None) -> None:
        super().__init__(out, method.recipe.steps, show)
        # As published: at random, whatever the run starts from.
        self.random = dataclasses.replace(method.recipe, start="random")

    def trial(self, step: int, module: Block, held: Sequence[ClipFeatures]) -> dict[str, Any]:
        """Try the block on the held-out clips, and draw its attention beside untrained."""
        block = copy.deepcopy(module).cpu().eval()
        found = dataclasses.asdict(try_block(step, block, held))
        untrained = new_block(self.random, held[0]).eval()
        draw_attention(self.out / "attention" / f"{step:06d}.png", untrained, block, held, step)
        return {name: value for name, value in found.items() if name != "step"}

    def report(self) -> Path:
        """Draw `report.png` from the log."""
        return draw_report(self.out, read_log(self.out))
