"""The optimiser of everything that is trained here."""

from typing import Any

import torch
from torch import nn


def make_optimiser(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with no weight decay on biases and norms; what asks for no gradient stays as it is."""
    trained = [p for p in module.parameters() if p.requires_grad]
    plain = [p for p in trained if p.ndim > 1]
    bare = [p for p in trained if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": plain}, {"params": bare, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
