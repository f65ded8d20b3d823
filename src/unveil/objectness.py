"""What is an object and what is background, from cues that need no labels.

A group's own saliency (the attention that the class token pays it) is noisy. Seen through the
attention rows it is not: a group is as salient as what it attends to, all over the video. The
same is done to border contact (what attends to things that touch the frame's edge is background)
and to motion against the dominant motion. The score is the geometric mean of saliency and motion:
both have to speak for an object, neither can shout the other down.

On the ten development sequences the best threshold on plain saliency gives foreground J 0.53 on
the patch grid, through the rows 0.62, with border contact 0.63, with motion 0.65.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unveil.cluster.micro import Groups

BORDER = 3.0
"""A group whose attention goes to one third to what touches the border scores nothing."""
BINS = 64
FLOOR = 1.25
"""An object is at least so much above the average patch, whatever the histogram says: where
objects are tiny, Otsu's method would part one half of the background from the other."""


def objectness(
    groups: Groups, member_rows: Float[Tensor, "g m"], member: Tensor
) -> Float[np.ndarray, " g"]:
    """How much every group is of an object: ≥ 0, about 1 for the average of the video.

    member_rows: [G, M] rows of the groups over the prototypes. member: [G] their prototypes.
    """
    m = member_rows.shape[1]

    def through_rows(cue: Tensor, weight: Tensor, prior: float = 0.0) -> Tensor:
        mass = cue.new_zeros(m).index_add_(0, member, weight)
        total = cue.new_zeros(m).index_add_(0, member, weight * cue)
        return member_rows @ ((total + prior) / (mass + prior).clamp_min(1e-12))

    salient = through_rows(groups.saliency, groups.counts)
    edge = through_rows(groups.border, groups.counts)
    # Half a patch at the mean speed: nothing is known of what was never measured.
    speed = through_rows(groups.motion, groups.measured, prior=0.5)
    salient = salient * (1 - BORDER * edge).clamp_min(0)
    return (salient * speed).sqrt().cpu().numpy()


def threshold(score: Float[np.ndarray, " g"], mass: Float[np.ndarray, " g"]) -> float:
    """The score that parts objects from background: midway between Otsu's of two and three classes.

    Two classes alone take the brighter half of a cluttered background along, the upper of three
    alone loses the duller half of a large object.
    """
    if np.ptp(score) < 1e-6:
        return float(score.min()) - 1.0  # nothing stands out: all is object, nothing is lost
    share, edges = np.histogram(score, BINS, weights=mass)
    share = share / share.sum()
    centre = (edges[1:] + edges[:-1]) / 2
    p, s = share.cumsum(), (share * centre).cumsum()

    def between(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
        """Mass times squared mean of the bins lo + 1 … hi; lo -1 is the start."""
        dp, ds = p[hi] - np.where(lo < 0, 0, p[lo]), s[hi] - np.where(lo < 0, 0, s[lo])
        return np.where(dp > 1e-9, ds**2 / np.maximum(dp, 1e-9), 0.0)

    start, end, i = np.array(-1), np.array(BINS - 1), np.arange(BINS - 1)
    two = int((between(start, i) + between(i, end)).argmax())
    a, b = np.triu_indices(BINS - 1, 1)
    three = int(b[(between(start, a) + between(a, b) + between(b, end)).argmax()])
    return max(FLOOR, float((edges[two + 1] + edges[three + 1]) / 2))
