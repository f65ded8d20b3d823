"""What is an object and what is background, from cues that need no labels.

A group's own saliency (the attention that the class token pays it) is noisy. Seen through the
attention rows it is not: a group is as salient as what it attends to, all over the video. The
same is done to border contact (what attends to things that touch the frame's edge is background)
and to the evidence of motion against the dominant motion, of which the group's own counts as well:
what is parked looks like what drives. The score multiplies them, so that no cue can shout the
others down.

A threshold on that score is brittle. Instead the score only gives every group an opinion, firm
far from the threshold and weak near it, and a random walker (Grady, "Multilabel Random Walker
Image Segmentation Using Prior Models", CVPR 2005) settles the matter between neighbours: the
probability that a walk over the contacts of groups ends at one that holds itself for an object.
So the edge of an object comes to lie where groups stop being alike, not where a score crosses a
level.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import cg
from torch import Tensor

from unveil.fast.groups import Groups

BORDER = 3.0
"""A group whose attention goes to one third to what touches the border scores nothing."""
SALIENCY_POWER, MOTION_POWER = 0.4, 0.5
"""How much the cues count: powers of the saliency, and of e for each nat of evidence."""
OWN = 12.0
"""Measured patches with which a group's own motion counts as much as that of what looks like it."""
MOST = 4.0
"""Nats of evidence beyond which more says no more."""
LEVEL = 1.9
"""The score, 1 for the average patch, at which a group has no opinion …"""
OF_BEST = 2 / 3
"""… or this share of the best group's where that is less: an object that fills the frame cannot be
twice the average."""
FIRMNESS = 0.3
"""Weight of a patch's firm opinion beside one contact with a patch that looks the same."""
SURE = 0.5
"""Distance from the level, in log score, over which an opinion grows firm."""


def objectness(
    groups: Groups,
    seen: Callable[[Float[Tensor, "m k"]], Float[Tensor, "g k"]],
    member: Int[Tensor, " g"],
) -> Float[np.ndarray, " g"]:
    """How much every group is of an object: ≥ 0, 1 for the average patch of the video.

    seen: what the rows of the groups make of values of the prototypes. member: [G] their
    prototypes.
    """

    def mean_of(cue: Tensor, weight: Tensor, prior: float = 0.0) -> Float[Tensor, " m"]:
        zeros = cue.new_zeros(int(member.max()) + 1)
        mass = zeros.index_add(0, member, weight)
        total = zeros.index_add(0, member, weight * cue)
        return total / (mass + prior).clamp_min(1e-12)

    # Half a patch that moves with neither: nothing is known of what was never measured.
    cues = [
        mean_of(groups.saliency, groups.counts),
        mean_of(groups.border, groups.counts),
        mean_of(groups.motion, groups.measured, prior=0.5),
    ]
    salient, edge, moves = seen(torch.stack(cues, 1)).unbind(1)
    moves = torch.lerp(moves, groups.motion, groups.measured / (groups.measured + OWN))
    inside = salient * (1 - BORDER * edge).clamp_min(0)
    score = inside**SALIENCY_POWER * (MOTION_POWER * moves.clamp(-MOST, MOST)).exp()
    mean = (score * groups.counts).sum() / groups.counts.sum()
    return (score / mean.clamp_min(1e-12)).double().cpu().numpy()


def level(score: Float[np.ndarray, " g"], mass: Float[np.ndarray, " g"]) -> float:
    """The score at which a group has no opinion: `LEVEL`, or two thirds of the best hundredth's."""
    order = np.argsort(score)
    reach = np.cumsum(mass[order]) / mass.sum()
    best = score[order[np.searchsorted(reach, 0.99)]]
    return float(min(LEVEL, OF_BEST * best))


def foreground(
    score: Float[np.ndarray, " g"], mass: Float[np.ndarray, " g"], contacts: sp.csr_array
) -> Float[np.ndarray, " g"]:
    """The probability, 0 … 1, that every group is of an object.

    score: as `objectness` gives it. mass: patches. contacts: [G, G], symmetric. Solves
    (D + C - W) p = C y, with W the contacts, D their sums, y the opinions and C their firmness, by
    conjugate gradients: linear in the contacts.
    """
    tau = level(score, mass)
    if tau <= 0:
        return np.ones_like(score)  # nothing can be told apart: all is object, nothing is lost
    opinion = np.log(np.maximum(score, 1e-3) / tau)
    firm = FIRMNESS * mass * np.tanh(np.abs(opinion) / SURE) + 1e-6
    diagonal = contacts.sum(axis=1) + firm
    system = sp.diags_array(diagonal) - contacts
    yes = firm * (opinion > 0)
    p, failed = cg(
        system, yes, yes / diagonal, rtol=1e-6, maxiter=2000, M=sp.diags_array(1 / diagonal)
    )
    if failed:
        raise RuntimeError(f"the random walker did not settle in {failed} rounds")
    return np.clip(p, 0.0, 1.0)
