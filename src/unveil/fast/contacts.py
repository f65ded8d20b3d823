"""Which groups touch, in space and in time, and how alike they are where they do.

The graph of a video: nodes are its groups, edges join groups of which two patches are neighbours,
side by side in a frame or at one place in two frames running of one shot. Foreground (`objectness`)
and single objects (`fast.instances`) are found on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int, Integer

from unveil.fast.groups import Groups, join
from unveil.fast.kmeans import PIECE, in_pieces

SOFTNESS = 0.2
"""Neighbours whose cosine is lower by this much hold together e times less."""
STRANGE = 0.007
"""Neighbours less alike than this (at a cosine of 0) do not hold together at all."""
_STRETCH = 128  # frames counted at once; more would only cost memory
_EDGES = 1 << 11  # compared at once, for the same reason


@dataclass(frozen=True)
class Contacts:
    """How firmly groups hold together: symmetric sparse [G, G], pairs of patches times likeness.

    space: within frames. time: from one frame to the next.
    """

    space: sp.csr_array
    time: sp.csr_array

    @cached_property
    def all(self) -> sp.csr_array:
        """Both together."""
        return (self.space + self.time).tocsr()


@dataclass(frozen=True)
class Edges:
    """Groups a < b of which patches are neighbours.

    pairs: how many pairs of patches. apart: squared distance of the mean keys.
    """

    a: Int[np.ndarray, " e"]
    b: Int[np.ndarray, " e"]
    pairs: Float[np.ndarray, " e"]
    apart: Float[np.ndarray, " e"]

    def renumbered(self, first: int) -> "Edges":
        """With `first` added to every number; what was numbered before 0 then is left out."""
        kept = self.a >= -first
        return Edges(self.a[kept] + first, self.b[kept] + first, self.pairs[kept], self.apart[kept])


@dataclass(frozen=True)
class Neighbours:
    """Which groups touch, and how far apart their keys are: all of `Contacts` that lasts.

    How alike two groups are depends on all others, so on what else is looked at.
    """

    space: Edges
    time: Edges


def contacts(
    groups: Groups, softness: float = SOFTNESS, known: Neighbours | None = None
) -> Contacts:
    """The contacts of all groups; softness as `scaled_keys` takes it. known: their `neighbours`.

    Cost: linear in the patches. Peak memory: 128 frames' patch pairs, and the edges.
    """
    known = known or neighbours(groups)
    scale = scaled_keys(groups, softness).scale
    return Contacts(*(_weighed(x, scale, len(groups)) for x in (known.space, known.time)))


def neighbours(groups: Groups) -> Neighbours:
    """Which groups touch, counted a stretch of frames at a time."""
    ids, shot, space, time = groups.ids, groups.shot.cpu().numpy(), [], []
    for start in range(0, len(ids), _STRETCH):
        here, on = ids[start : start + _STRETCH], ids[start : start + _STRETCH + 1]
        sides = ((here[:, 1:], here[:, :-1]), (here[..., 1:], here[..., :-1]))
        space.append(_edges(sides, groups.keys))
        follows = np.diff(shot[on[:, 0, 0]]) == 0
        time.append(_edges(((on[1:][follows], on[:-1][follows]),), groups.keys))
    return Neighbours(_joined(space), _joined(time))


def next_neighbours(block: Groups, before: Groups | None = None) -> Neighbours:
    """Those within a block, and with the one before it, whose groups have numbers below 0."""
    if before is None:
        return neighbours(block)
    found = neighbours(join((replace(before, ids=before.ids[-1:]), block)))
    n = len(before)
    new = (
        (e.a[k] - n, e.b[k] - n, e.pairs[k], e.apart[k])
        for e, k in ((e, e.b >= n) for e in (found.space, found.time))
    )
    return Neighbours(*(Edges(*x) for x in new))


def chained(parts: Sequence[Neighbours], blocks: Sequence[Groups]) -> Neighbours:
    """The neighbours of `join(blocks)`, from those that `next_neighbours` gave of each."""
    first = np.cumsum([0, *(len(block) for block in blocks[:-1])]).tolist()
    spaces = [part.space.renumbered(i) for part, i in zip(parts, first, strict=True)]
    times = [part.time.renumbered(i) for part, i in zip(parts, first, strict=True)]
    return Neighbours(_joined(spaces), _joined(times))


@dataclass(frozen=True)
class ScaledKeys:
    """Mean keys of groups on a scale on which the likeness of two is exp(-d²), d their distance.

    keys: [G, C], as `Groups` holds them. They are made of it where they are asked for, some groups
    at a time: `scaled[first:last]`, or by an array of indices. mean: [C]. scale: what d² is over.
    """

    keys: Float[torch.Tensor, "g c"]
    mean: Float[torch.Tensor, " c"]
    scale: float

    def __getitem__(self, groups: slice | np.ndarray) -> Float[np.ndarray, "g c"]:
        some = self.keys[groups if isinstance(groups, slice) else torch.from_numpy(groups)]
        return (some.float() - self.mean).div_(self.scale**0.5).cpu().numpy()

    def pieces(self) -> Iterator[tuple[slice, Float[np.ndarray, "g c"]]]:
        """All of them, some thousand at a time, and where they stand."""
        for start in range(0, len(self.keys), PIECE):
            part = slice(start, start + PIECE)
            yield part, self[part]


def scaled_keys(groups: Groups, softness: float = SOFTNESS) -> ScaledKeys:
    """The mean keys, scaled by how far the video's keys spread.

    d² is the squared distance of keys over 2 · softness · v, v the mean squared distance of the
    video's keys from their mean. For centred keys of equal length it is (1 - cosine) / softness.
    """
    mean = groups.mean
    apart = in_pieces(lambda part: (part.float() - mean).square().sum(1), groups.keys)
    spread = float(groups.counts @ apart / groups.counts.sum())
    return ScaledKeys(groups.keys, mean, 2 * softness * max(spread, 1e-12))


def _edges(
    sides: Sequence[tuple[Integer[np.ndarray, "..."], Integer[np.ndarray, "..."]]],
    keys: Float[torch.Tensor, "g c"],
) -> Edges:
    """What stands at the same places of pairs of arrays and differs."""
    places = [(a[a != b], b[a != b]) for a, b in sides]
    a, b = (np.concatenate(x) for x in zip(*places, strict=True))
    if not len(a):
        none = np.zeros(0, np.int32)
        return Edges(none, none, none.astype(np.float32), none.astype(np.float32))
    low, high = np.minimum(a, b), np.maximum(a, b)
    first, last = int(low.min()), int(high.max())
    ones = np.ones(len(low), np.float32)
    size = last - first + 1
    found = sp.coo_array((ones, (low - first, high - first)), shape=(size, size)).tocsr().tocoo()
    looks = keys[first : last + 1].float().cpu().numpy()
    apart = np.empty_like(found.data)
    for start in range(0, len(apart), _EDGES):
        part = slice(start, start + _EDGES)
        apart[part] = np.square(looks[found.row[part]] - looks[found.col[part]]).sum(1)
    return Edges(found.row + first, found.col + first, found.data, apart)


def _joined(parts: Sequence[Edges]) -> Edges:
    names = ("a", "b", "pairs", "apart")
    return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _weighed(edges: Edges, scale: float, g: int) -> sp.csr_array:
    likeness = np.exp(edges.apart / -scale)
    held = likeness >= STRANGE
    weight = edges.pairs[held] * likeness[held]
    one_way = sp.coo_array((weight, (edges.a[held], edges.b[held])), shape=(g, g)).tocsr()
    return (one_way + one_way.T).tocsr()
