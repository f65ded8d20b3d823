"""The losses of SMTC: semantics that agree over time, semantics told apart, instances told apart.

Qian et al., arXiv 2308.09951, as its released code computes them (shvdiwnkozbw/SMTC, `train.py`).
What the teacher says has no gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.slots.smtc import Described, matched
from unveil.training.recipe import check_positive
from unveil.training.transport import sinkhorn

_TINY = 1e-8
"""Added to shares before their logarithm or length is taken."""


@dataclass(frozen=True)
class SmtcLossSettings:
    """Weights of the losses, and their constants; the defaults are SMTC's. A loss of weight 0 is
    left out.
    """

    correspondence: float = 1.0
    """Weight of what semantics say of patches that correspond."""
    separation: float = 1.0
    """Weight of what the maps of two semantics have in common."""
    instances: float = 1.0
    """Weight of instances told apart."""
    epsilon: float = 0.05
    """By which costs of transport are divided."""
    iterations: int = 3
    """Of Sinkhorn-Knopp."""
    share: float = 0.3
    """A patch is of a semantics that has more of it …"""
    area: float = 0.2
    """… and semantics of more than this part of a frame have instances that count …"""
    like: float = 0.5
    """… those whose slots have more than this cosine with the semantics' own."""
    margin: float = 0.5
    """Cosine up to which two instances are apart."""

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        check_positive(self, "epsilon", "iterations")
        if not self.correspondence + self.separation + self.instances > 0:
            raise TrainingError("recipe: all losses have weight 0, there is nothing to train for")

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses that count, by name."""
        every = ("correspondence", "separation", "instances")
        return {name: getattr(self, name) for name in every if getattr(self, name)}


def correspondence(
    logits: Float[Tensor, "b t s n"],
    taught: Float[Tensor, "b t s n"],
    features: Float[Tensor, "b t n c"],
    epsilon: float,
    iterations: int,
) -> Float[Tensor, ""]:
    """Cross entropy of the semantics of patches with those the teacher gives to what they become.

    For every frame i and every other frame j, with f of length 1, T the plan that carries patch n
    of i to m of j at a cost of 1 - f_n·f_m (entropy ε, sums in proportion to Σ_c |f|), p and q the
    softmax over semantics of logits and taught: -Σ T_nm q_m·log p_n, the mean over pairs of frames.
    """
    t = logits.shape[1]
    i, j = (torch.tensor(x) for x in zip(*_others(t), strict=True))
    f = F.normalize(features, dim=-1)
    mass = f.abs().sum(-1)
    mass = mass / mass.sum(-1, keepdim=True)
    # The code scales the rows of i first: they are the columns here.
    cost = 1 - f[:, j] @ f[:, i].mT
    plan = sinkhorn(-cost, epsilon, iterations, rows=mass[:, j], columns=mass[:, i])
    target = (taught.softmax(2)[:, j] @ plan).detach()
    log = (logits.softmax(2) + _TINY).log()
    return -(target * log[:, i]).sum((2, 3)).mean()


def separation(logits: Float[Tensor, "b t s n"]) -> Float[Tensor, ""]:
    """The mean over pairs of semantics of the cosine of their maps of shares."""
    maps = F.normalize(logits.softmax(2) + _TINY, dim=-1)
    s = maps.shape[2]
    common = maps @ maps.mT
    apart = ~torch.eye(s, dtype=torch.bool, device=maps.device)
    return (common * apart).sum((2, 3)).mean() / max(1, s * (s - 1))


@torch.no_grad()
def valid(seen: Described, settings: SmtcLossSettings) -> Bool[Tensor, "b t s p"]:
    """Which instances count: of semantics that have some part of the frame, and are like them."""
    area = (seen.logits.softmax(2) > settings.share).to(seen.logits).mean(-1)
    like = F.cosine_similarity(seen.semantics[:, :, :, None], seen.instances, dim=-1)
    return (like > settings.like) & (area > settings.area)[..., None]


def instances(seen: Described, taught: Described, settings: SmtcLossSettings) -> Float[Tensor, ""]:
    """Instances drawn to their own in the teacher's frames, away from the others of their kind.

    For every two frames i, j, also i = j, and each semantics, with o the student's objects in i and
    o' the teacher's in j: `matched` says which o' is whose; then, of each o that counts, the mean
    over the other o' of max(0, o·o' - margin), and 1 - o·o' of its own where that counts too. The
    mean over all that count. (The code has -o·o': the same but for a number without a gradient.)
    """
    near = torch.einsum("bispc,bjsqc->bijspq", seen.objects, taught.objects.detach())
    own = matched(near)
    others = torch.ones_like(near, dtype=torch.bool).scatter(-1, own[..., None], False)
    apart = (F.relu(near - settings.margin) * others).sum(-1) / max(1, near.shape[-1] - 1)
    counts = valid(seen, settings)[:, :, None].expand(own.shape)
    theirs = valid(taught, settings)[:, None].expand(own.shape).gather(-1, own)
    together = theirs * (1 - near.gather(-1, own[..., None])[..., 0])
    return (counts * (apart + together)).sum() / counts.sum().clamp_min(1)


def _others(t: int) -> list[tuple[int, int]]:
    """Every frame with every other."""
    return [(i, j) for i in range(t) for j in range(t) if i != j]
