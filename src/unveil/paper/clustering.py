"""The published clustering, exactly: the control for everything that came after.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, section 3.4, and the released
code. What follows it and what repairs it:

- As published: windows of three frames; each row replaced by the normalised sum of the rows
  within tau; greedy merging in token order of what lies within tau; merging of all centres the
  same way until nothing changes; every token to its nearest centre. No positional term, no
  background, no minimum size.
- Repaired: an entry that underflowed to 0 has no logarithm, and one such entry turns distances
  into NaN there. Here 0 · log 0 = 0 and log 0 is that of the smallest normal fp32 number.
- Repaired: clips of fewer than ten frames had no key frame (`attention.rows.key_frames`), and the
  last frame was dropped by the data loader.

Cost: quadratic in frames (rows grow with the key frames), cubic in the patches of a frame.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unveil.attention.divergence import log
from unveil.attention.rows import Rows
from unveil.errors import InputError
from unveil.paper.neighbours import Neighbours
from unveil.settings import TAU
from unveil.types import Clusters

WINDOW = 3
FEW = 32
"""Directions that tell smoothed rows apart: they vary less than the rows they are made of."""


@torch.inference_mode()
def merge(
    rows: Rows,
    tau: float = TAU,
    window: int = WINDOW,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clusters:
    """Cluster the attention rows of a video as published.

    rows: distributions, made window by window, and once more where the nearest centre is close to
    the next. tau: symmetric KL in nats, > 0. window: frames of the first level. on_progress: called
    with windows done and windows in all (two passes).
    Peak memory: for n tokens a window and M keys, four fp32 matrices n x M and n x n bytes; of all
    windows 260 fp32 numbers a token and 130 a key (`paper.directions`).
    Deterministic. Raises InputError for a tau or window that is not positive.
    """
    if not tau > 0 or window < 1:
        raise InputError(f"tau and window must be positive, got tau {tau} and window {window}")
    starts = range(0, rows.frames, window)
    report = on_progress or (lambda done, total: None)

    found, windows = [], []
    for i, start in enumerate(starts):
        p = _normalise(_computable(rows(start, _stop(start, window, rows))))
        neighbours = Neighbours.of(p, tau)
        found.append(_merge_window(neighbours))
        windows.append((neighbours.directions, neighbours.sketch))
        report(i + 1, 2 * len(starts))
    centres = _merge_until_stable(torch.cat(found), tau)

    labels = []
    for i, (start, (directions, sketch)) in enumerate(zip(starts, windows, strict=True)):
        nearest, sure = directions.nearest(sketch, centres)
        unsure = (~sure).nonzero().flatten()
        if len(unsure):
            p = _normalise(_computable(rows.some(start * rows.h * rows.w + unsure)))
            nearest[unsure] = _nearest(p, centres)
        labels.append(nearest)
        report(len(starts) + i + 1, 2 * len(starts))
    return Clusters(torch.cat(labels).unflatten(0, (rows.frames, rows.h, rows.w)), centres)


def _computable(p: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Rows where all that follows can be computed: MPS has no float64 and no sparse products."""
    return p.cpu() if p.device.type == "mps" else p


def _normalise(p: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Rows that sum to 1, in place: a copy would be as large as the rows."""
    return p.div_(p.sum(-1, keepdim=True))


def _nearest(p: Float[Tensor, "n m"], centres: Float[Tensor, "k m"]) -> Int[Tensor, " n"]:
    """The nearest centre of each row: what each row has of its own is left out of all distances."""
    logs = log(centres)
    distances = torch.linalg.vecdot(centres, logs)[:, None] - logs @ p.T
    return distances.addmm_(centres, log(p).T, alpha=-1).argmin(0)


def _stop(start: int, window: int, rows: Rows) -> int:
    return min(start + window, rows.frames)


def _merge_window(neighbours: Neighbours) -> Float[Tensor, "k m"]:
    smoothed = _normalise(neighbours.sums())
    directions = neighbours.directions.first(FEW)
    return _merge_greedily(smoothed, Neighbours.of(smoothed, neighbours.tau, directions))


def _merge_until_stable(centres: Float[Tensor, "n m"], tau: float) -> Float[Tensor, "k m"]:
    while True:
        merged = _merge_greedily(centres, Neighbours.of(centres, tau))
        if len(merged) == len(centres):
            return merged
        centres = merged


def _merge_greedily(p: Float[Tensor, "n m"], neighbours: Neighbours) -> Float[Tensor, "k m"]:
    """In order, each row that is still free founds a centre: the mean of the free rows near it."""
    free = torch.ones(len(p), dtype=torch.bool, device=p.device)
    centres = []
    for i in range(len(p)):
        if free[i]:
            free[i] = False  # near itself, also where rounding says otherwise
            founder = torch.tensor([i], device=p.device)
            others = free.nonzero().flatten()
            members = torch.cat((founder, others[neighbours.near(founder, others)[0]]))
            centres.append(p[members].mean(0))
            free[members] = False
    return torch.stack(centres)
