"""What is an object and what is background, from cues that need no labels.

Two cues are multiplied, so that none can shout the other down: the evidence of motion against the
dominant motion, and how much a group looks like an object. The latter is what the objects' head
says of it (`unveil.attention.objects_head`); for a backbone without one, the attention that the
class token pays it, less where it touches the frame's border.

A group's own cue is noisy. Seen through the attention rows it is not: a group is an object as much
as what it attends to, all over the video. Of its motion its own counts as well: what is parked
looks like what drives.

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

HEAD_POWER, SALIENCY_POWER, MOTION_POWER = 0.35, 0.4, 0.75
"""How much the cues count: powers of e for each nat that the head says, of the saliency, and of e
for each nat of motion. These and what follows were chosen on `data/davis` and `data/davis-train`
together, by `benchmarks/foreground.py`."""
BORDER = 3.0
"""Without a head: a group whose attention goes to one third to what touches the border scores
nothing."""
OWN = 14.0
"""Measured patches with which a group's own motion counts as much as that of what looks like it."""
MOST_LOOK, MOST_MOTION = 2.1, 2.4
"""Nats beyond which the head, and the evidence of motion, say no more."""
LEVEL = 2.5
"""The score, 1 for the average patch, at which a group has no opinion …"""
OF_BEST = 0.6
"""… or this share of the best group's where that is less: an object that fills the frame cannot be
twice the average."""
FIRMNESS = 0.6
"""Weight of a patch's firm opinion beside one contact with a patch that looks the same."""
SURE = 0.55
"""Distance from the level, in log score, over which an opinion grows firm."""


def objectness(
    groups: Groups,
    seen: Callable[[Float[Tensor, "m k"]], Float[Tensor, "g k"]],
    member: Int[Tensor, " g"],
) -> Float[np.ndarray, " g"]:
    """How much every group is of an object: ≥ 0, 1 for the average patch of its shot.

    seen: what the rows of the groups make of values of the prototypes. member: [G] their
    prototypes.
    """

    def mean_of(cue: Tensor, weight: Tensor, prior: float = 0.0) -> Float[Tensor, " m"]:
        zeros = cue.new_zeros(int(member.max()) + 1)
        mass = zeros.index_add(0, member, weight)
        total = zeros.index_add(0, member, weight * cue)
        return total / (mass + prior).clamp_min(1e-12)

    # Half a patch that moves with neither: nothing is known of what was never measured.
    moves = mean_of(groups.motion, groups.measured, prior=0.5)
    if groups.objectness is not None:
        look = mean_of(groups.objectness, groups.counts)
        look, moves = seen(torch.stack((look, moves), 1)).unbind(1)
        look = HEAD_POWER * look.clamp(-MOST_LOOK, MOST_LOOK)
    else:
        cues = (groups.saliency, groups.border)
        means = [mean_of(cue, groups.counts) for cue in cues]
        salient, edge, moves = seen(torch.stack((*means, moves), 1)).unbind(1)
        look = SALIENCY_POWER * (salient * (1 - BORDER * edge).clamp_min(0)).log()
    enough = OWN * groups.grain**2
    moves = torch.lerp(moves, groups.motion, groups.measured / (groups.measured + enough))
    score = (look + MOTION_POWER * moves.clamp(-MOST_MOTION, MOST_MOTION)).exp()
    score = score.where(groups.saliency > 0, 0.0)  # of a frame that shows nothing
    zeros = score.new_zeros(int(groups.shot.max()) + 1)
    total = zeros.index_add(0, groups.shot, score * groups.counts)
    mean = (total / zeros.index_add(0, groups.shot, groups.counts)).clamp_min(1e-12)
    return (score / mean[groups.shot]).double().cpu().numpy()


def levels(
    score: Float[np.ndarray, " g"], mass: Float[np.ndarray, " g"], shot: Int[np.ndarray, " g"]
) -> Float[np.ndarray, " g"]:
    """The `level` of the shot that each group is in."""
    found = np.zeros(len(score))
    for i in np.unique(shot):
        found[shot == i] = level(score[shot == i], mass[shot == i])
    return found


def level(score: Float[np.ndarray, " g"], mass: Float[np.ndarray, " g"]) -> float:
    """The score at which a group has no opinion: `LEVEL`, or `OF_BEST` of the best hundredth's."""
    order = np.argsort(score)
    reach = np.cumsum(mass[order]) / mass.sum()
    best = score[order[np.searchsorted(reach, 0.99)]]
    return float(min(LEVEL, OF_BEST * best))


def foreground(
    score: Float[np.ndarray, " g"],
    mass: Float[np.ndarray, " g"],
    contacts: sp.csr_array,
    shot: Int[np.ndarray, " g"] | None = None,
) -> Float[np.ndarray, " g"]:
    """The probability, 0 … 1, that every group is of an object.

    score: as `objectness` gives it. mass: patches. contacts: [G, G], symmetric, none between two
    shots. shot: that each group is in; None: there is one. Solves (D + C - W) p = C y, with W the
    contacts, D their sums, y the opinions and C their firmness, by conjugate gradients: linear in
    the contacts.
    """
    tau = levels(score, mass, np.zeros(len(score), int) if shot is None else shot)
    blind = tau <= 0  # nothing can be told apart: all is object, nothing is lost
    opinion = np.log(np.maximum(score, 1e-3) / np.where(blind, 1e-6, tau))
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
