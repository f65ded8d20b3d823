"""The loss of TimeT: assignments of patches to prototypes, forwarded to a later frame by features.

Salehi et al., "Time does tell", arXiv 2308.11796; the constants are those that its released code
runs with (SMSD75/Timetuning, `get_loss` in `time_tuning.py`, `mask_propagation.py`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.training.recipe import check_positive
from unveil.training.transport import sinkhorn


@dataclass(frozen=True)
class ForwardingSettings:
    """Constants of the loss; the defaults are TimeT's."""

    epsilon: float = 0.05
    """By which scores are divided before they are balanced."""
    iterations: int = 10
    """Of Sinkhorn-Knopp; an option of the code says 3, but is not handed on."""
    radius: int = 6
    """Patches up and down, left and right, among which a patch looks for those it came from."""
    neighbours: int = 5
    """Patches that it takes its assignment from."""
    forward_temperature: float = 0.1
    """Of the cosines that weigh them."""

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        check_positive(self, "epsilon", "iterations", "neighbours", "forward_temperature")
        if self.radius < 0:
            raise TrainingError(f"recipe: radius must not be negative, got {self.radius}")


def nearby(grid: tuple[int, int], radius: int) -> Bool[Tensor, "n n"]:
    """Which patches of a grid lie at most `radius` rows and columns apart."""
    rows, columns = torch.arange(grid[0]), torch.arange(grid[1])
    row = (rows[:, None] - rows).abs() <= radius
    column = (columns[:, None] - columns).abs() <= radius
    return torch.einsum("ij,kl->ikjl", row.int(), column.int()).flatten(0, 1).flatten(1) > 0


@torch.no_grad()
def forwarded(
    first: Float[Tensor, "b n k"],
    features: Float[Tensor, "b t n c"],
    grid: tuple[int, int],
    settings: ForwardingSettings,
) -> Float[Tensor, "b n k"]:
    """What is known of the patches of the first frame, of those of the last.

    With f of length 1, frame by frame: patch i of frame t takes Σ_j w_j q_j, over the `neighbours`
    patches j of all frames before t, at most `radius` away, that f_i·f_j is highest for; w is the
    softmax over them of f_i·f_j / τ, and q_j what was found of them (the code keeps the first frame
    and the last 7, which are all of its 4). `first` for the first.
    """
    f, known = F.normalize(features, dim=-1), first[:, None]
    far = ~nearby(grid, settings.radius).to(f.device)
    for t in range(1, f.shape[1]):
        before = f[:, :t].flatten(1, 2)
        near = f[:, t] @ before.mT / settings.forward_temperature
        near = near.masked_fill(far.repeat(1, t), -torch.inf)
        best = near.topk(min(settings.neighbours, near.shape[-1]), -1)
        weights = torch.zeros_like(near).scatter(-1, best.indices, best.values.softmax(-1))
        known = torch.cat([known, (weights @ known.flatten(1, 2))[:, None]], 1)
    return known[:, -1]


def forwarding(
    first: Float[Tensor, "b n k"],
    last: Float[Tensor, "b n k"],
    features: Float[Tensor, "b t n c"],
    grid: tuple[int, int],
    temperature: float,
    settings: ForwardingSettings,
) -> Float[Tensor, ""]:
    """Cross entropy of the scores of the last frames with what was forwarded to them.

    q: `sinkhorn` of the scores of the first frames of all clips together; the target of a patch of
    a clip's last frame is the prototype that `forwarded` q is highest for, and the loss the mean
    over clips and patches of -log softmax(scores / τ) there. No gradient flows by the first frames.
    """
    q = sinkhorn(first.flatten(0, 1), settings.epsilon, settings.iterations).view_as(first)
    target = forwarded(q, features, grid, settings).argmax(-1)
    return F.cross_entropy((last / temperature).flatten(0, 1), target.flatten())
