"""The first level: patches of a few frames that belong together, found while the video runs.

A block of eight frames is cut into some hundred small groups, alike in their keys and near each
other. Only the groups are kept: the id of every patch, and for each group its mean key and a few
sums, 25 kB a frame at 256 groups of 384 channels instead of 770 kB (`fast.spool` keeps the keys out
of memory). A group never spans two places that merely look alike, and what appears late founds
groups of its own.

A block ends with every eighth frame of the video and with a shot, whatever chunks the frames came
in: no group has frames of two shots, and the result depends neither on the chunk size nor on where
a stretch of the video begins, as long as that is a whole number of blocks from its first frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.objects_head import ObjectsHead, told
from unveil.errors import InputError
from unveil.fast import motion
from unveil.fast.blank import blank
from unveil.fast.directions import evenly, main_directions
from unveil.fast.kmeans import in_pieces, lloyd, weighted_mean
from unveil.fast.shots import LEAST, colours, cut_between
from unveil.types import Features

BLOCK = 8
"""Frames grouped together."""
GROUPS = 256
"""Groups a block, at most, at the default size or below; in proportion to the patches above it."""
PLACE = 0.5
"""Weight of a patch's place, in half frame heights, beside its key of length 1."""
FAINT = 0.02
"""Share of an object that every group has when motion is looked at again: what was not found at all
may still go with what was."""
SHORT = 24
"""Patches along the short side at the default size, on which all constants of the mode were chosen:
what is counted in patches is taken to that size (`Groups.grain`)."""
APART = 0.3
"""Weight of what the objects' head embeds beside it: two patches that it holds for two objects, at
least 1.4 apart there, seldom become one group."""


@dataclass(frozen=True)
class Groups:
    """The small groups of a whole video: all that later stages need to know of its features.

    ids: [T, h, w] int32, the group of every patch, 0 … G-1. keys: [G, C] mean keys, in the half
    precision that they are held in; whoever computes with them takes a piece at a time.
    counts: [G] patches. saliency: [G] mean CLS attention, 1 = the mean of its frame. border: [G]
    share of patches on the frame's left, right or upper edge. motion: [G]
    evidence in nats for moving against the dominant motion, the mean of the `measured`: [G] patches
    it is known of. block: [G] the block it lies in. shot: [G]. objectness: [G] mean log-odds by the
    objects' head. glimpses: grey samples of a middle frame of each block and two others, by which
    motion is looked at again; dominant: the dominant motion from the first to those.
    """

    ids: Int[np.ndarray, "t h w"]
    keys: Float[Tensor, "g c"]
    counts: Float[Tensor, " g"]
    saliency: Float[Tensor, " g"]
    border: Float[Tensor, " g"]
    motion: Float[Tensor, " g"]
    measured: Float[Tensor, " g"]
    block: Int[Tensor, " g"]
    shot: Int[Tensor, " g"]
    objectness: Float[Tensor, " g"] | None = None
    glimpses: UInt8[Tensor, "b 3 H1 W1"] | None = None
    dominant: Float[Tensor, "b 2 2 3"] | None = None

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def mean(self) -> Float[Tensor, " c"]:
        """The mean key of all patches."""
        return weighted_mean(self.keys, self.counts)

    @property
    def grain(self) -> float:
        """That of its frames."""
        return grain(*self.ids.shape[1:])

    @property
    def shots(self) -> Int[np.ndarray, " s"]:
        """The first frame of every shot."""
        of_frame = self.shot.cpu().numpy()[self.ids[:, 0, 0]]
        return np.flatnonzero(np.diff(of_frame, prepend=-1))


_Frame = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Keys, saliency, what the objects' head says where it was asked, and grey samples."""


@dataclass
class Grouper:
    """Takes the features of a video chunk by chunk, and keeps only their groups.

    >>> grouper = Grouper()
    >>> grouper.add(Features(torch.randn(3, 5, 7, 16), 14))
    >>> grouper.finish().ids.shape
    (3, 5, 7)

    head: what tells objects, frame by frame; None: nothing does. block: frames grouped together.
    groups: groups a block, at most, as `GROUPS` has it. place: weight of the place.
    """

    head: ObjectsHead | None = None
    block: int = BLOCK
    groups: int = GROUPS
    place: float = PLACE
    _waiting: list[_Frame] = field(default_factory=list, repr=False)
    _done: list[Groups] = field(default_factory=list, repr=False)
    _blocks: int = 0
    _taken: int = 0
    _shot: int = 0
    _age: int = 0
    _last: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def add(self, features: Features, frames: UInt8[np.ndarray, "t H W 3"] | None = None) -> None:
        """Take the features of the next frames; they are let go of before this returns.

        frames: the frames themselves, for what moves in them and for where shots end; without them
        motion is no cue, and all is one shot.
        Nothing is salient in a frame that shows nothing (`fast.blank`).
        """
        t, h, w, _ = features.keys.shape
        saliency = features.saliency
        if saliency is None:
            saliency = features.keys.new_ones(t, h, w)
        objects: Iterable[Tensor | None] = [None] * t
        if features.objects is not None:
            objects = features.objects
        grey: Iterable[Tensor | None] = [None] * t
        first = [False] * t
        if frames is not None:
            small = motion.samples(frames, h, w)
            grey = motion.grey(small)
            saliency = saliency.masked_fill(blank(small).to(saliency.device)[:, None, None], 0.0)
            first = self._cuts(features.keys, colours(small))
        for begins, *frame in zip(first, features.keys, saliency, objects, grey, strict=True):
            if begins:
                self._close()
                self._shot += 1
            self._waiting.append(tuple(frame))
            self._taken += 1
            if self._taken % self.block == 0:
                self._close()
        # A frame that waits must not keep the whole chunk it is a view of.
        self._waiting = [(k.clone(), s.clone(), _copy(o), _copy(x)) for k, s, o, x in self._waiting]

    def pop(self, flush: bool = False) -> list[Groups]:
        """The groups of every block that has become whole since the last call, forgotten here.

        flush: the frames that still wait make a last, shorter block.
        """
        if flush:
            self._close()
        done, self._done = self._done, []
        return done

    def finish(self) -> Groups:
        """All groups of all frames taken. Raises InputError when there were none."""
        done = self.pop(flush=True)
        if not done:
            raise InputError("no frames to group")
        return join(done)

    def _cuts(self, keys: Tensor, spread: Tensor) -> list[bool]:
        """Which of the next frames begin a shot."""
        first = []
        for now in zip(keys, spread, strict=True):
            last, self._last = self._last, now
            cut = last is not None and self._age >= LEAST and cut_between(last, now)
            self._age = 1 if cut else self._age + 1
            first.append(cut)
        if self._last is not None:  # not the whole chunk that they are views of
            self._last = (self._last[0].clone(), self._last[1])
        return first

    def _close(self) -> None:
        """What waits becomes a block."""
        ready, self._waiting = self._waiting, []
        if ready:
            self._group(ready)

    @torch.inference_mode()
    def _group(self, frames: list[_Frame]) -> None:
        keys = torch.stack([k for k, *_ in frames]).float()
        saliency = torch.stack([s for _, s, *_ in frames]).float()
        saliency = saliency / saliency.mean((1, 2), keepdim=True).clamp_min(1e-12)
        t, h, w, _ = keys.shape
        logits, apart = None, None
        known = [x for *_, x, _ in frames if x is not None]
        objects = torch.stack(known) if known else None
        if objects is None and self.head is not None:
            objects = told(self.head, keys)
        if objects is not None:
            logits, apart = objects[..., 0], APART * objects[..., 1:]
        most = round(self.groups * max(1.0, grain(h, w)) ** 2)
        labels = group_block(keys, most, self.place, apart)
        used, labels = labels.unique(return_inverse=True)
        g = len(used)
        counts = torch.bincount(labels, minlength=g).float()

        def mean(x: Tensor) -> Tensor:
            total = x.new_zeros(g, *x.shape[1:]).index_add_(0, labels, x)
            return total / counts.view(-1, *[1] * (x.ndim - 1))

        grey = [x for *_, x in frames if x is not None]
        middle = t // 2
        glimpses, moves = None, (counts.new_zeros(g), counts.new_zeros(g))
        if len(grey) == t:
            others = max(0, middle - motion.REACH), min(t - 1, middle + motion.REACH)
            glimpses = torch.stack([grey[i] for i in (middle, *others)]).round().byte()[None]
            at = labels.reshape(t, h, w)[middle].cpu()
            dominant = motion.dominant_motion(glimpses[0].float())[None]
            moves = _moves(glimpses[0], saliency[middle].cpu(), at, g, dominant[0]) or moves
        edge = keys.new_zeros(t, h, w)
        edge[:, 0] = edge[:, :, 0] = edge[:, :, -1] = 1
        stats = {
            "keys": mean(keys.flatten(0, 2)).half(),
            "counts": counts,
            "saliency": mean(saliency.flatten()),
            "border": mean(edge.flatten()),
            "motion": moves[0],
            "measured": moves[1],
            "block": torch.full((g,), self._blocks),
            "shot": torch.full((g,), self._shot),
        }
        if logits is not None:
            stats["objectness"] = mean(logits.flatten())
        if glimpses is not None:
            stats |= {"glimpses": glimpses, "dominant": dominant}
        ids = labels.reshape(t, h, w).cpu().numpy().astype(np.int32)
        self._done.append(Groups(ids, **{name: x.cpu() for name, x in stats.items()}))
        self._blocks += 1


def join(parts: Sequence[Groups]) -> Groups:
    """Groups of several stretches of a video as those of one."""
    first = np.cumsum([0, *(len(part) for part in parts[:-1])])
    ids = np.concatenate([part.ids + i for part, i in zip(parts, first, strict=True)])
    names = [f.name for f in fields(Groups) if f.name != "ids"]
    names = [name for name in names if all(getattr(part, name) is not None for part in parts)]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Groups(ids.astype(np.int32), **joined)


@torch.inference_mode()
def look_again(groups: Groups, share: Float[np.ndarray, " g"], since: int = 0) -> Groups:
    """The same with evidence of motion like that of the foreground, as far as it is known.

    The class token does not know which of the salient things move. What was found with its help
    does, all over the video; the motion that is fitted to that tells better what else goes with it.
    share: [G], how much of an object a group is. since: the block to begin with, counted in these
    groups; those before keep what they have. Unchanged where groups have no glimpses.
    """
    if groups.glimpses is None:
        return groups
    moves, measured = groups.motion.clone(), groups.measured.clone()
    of_frame = groups.block.cpu().numpy()[groups.ids[:, 0, 0]]
    first = np.flatnonzero(np.diff(of_frame, prepend=-1))
    frames = np.diff(first, append=len(of_frame))
    weight = torch.from_numpy(share + FAINT).float()
    dominant = [None] * len(first) if groups.dominant is None else groups.dominant
    for i in range(since, len(first)):
        ids = torch.from_numpy(groups.ids[first[i] + frames[i] // 2]).long()
        part, at = ids.unique(return_inverse=True)
        found = _moves(groups.glimpses[i], weight[ids], at, len(part), dominant[i])
        if found is not None:
            moves[part], measured[part] = found
    return replace(groups, motion=moves, measured=measured)


def _moves(
    glimpses: UInt8[Tensor, "3 H1 W1"],
    weight: Float[Tensor, "h w"],
    ids: Int[Tensor, "h w"],
    g: int,
    dominant: Float[Tensor, "2 2 3"] | None,
) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]] | None:
    """The mean evidence of motion of g groups, and in how many patches it was measured.

    weight: how salient each patch is. None where there is nothing to compare with.
    """
    found = motion.own_motion(glimpses.float(), weight, dominant)
    if found is None:
        return None
    measured = torch.bincount(ids.flatten(), minlength=g).float()
    total = torch.zeros(g).index_add_(0, ids.flatten(), found.flatten())
    return total / measured.clamp_min(1), measured


def group_block(
    keys: Float[Tensor, "t h w c"],
    groups: int = GROUPS,
    place: float = PLACE,
    beside: Float[Tensor, "t h w e"] | None = None,
) -> Int[Tensor, " n"]:
    """Groups of the patches of a few frames: k-means on keys and places, seeded on a grid.

    Keys speak in the directions that they mostly lie in (`fast.directions`). beside: what else is
    known of the patches, beside their keys of length 1. Deterministic. Peak memory: the keys once
    more, and one fp32 matrix of `PIECE` x groups.
    """
    t, h, w, _ = keys.shape
    mean, flat = keys.mean((0, 1, 2)), keys.flatten(0, 2)

    def unit(some: Tensor) -> Tensor:
        return F.normalize(some - mean, dim=-1)

    main = main_directions(unit(evenly(flat)))
    looks = in_pieces(lambda some: unit(some) @ main, flat).unflatten(0, (t, h, w))
    y = torch.linspace(-1, 1, h, device=keys.device) if h > 1 else keys.new_zeros(1)
    x = torch.linspace(-1, 1, w, device=keys.device) * (w / h) if w > 1 else keys.new_zeros(1)
    where = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1) * place
    parts = (looks, where.expand(t, h, w, 2), *(() if beside is None else (beside,)))
    points = torch.cat(parts, -1).flatten(0, 2)
    centres = points[_seeds(t, h, w, groups).to(keys.device)]
    return lloyd(points, centres)[1]


def grain(h: int, w: int) -> float:
    """Patches along the short side of h x w, in those of the default size: 1 at 336 px of 14."""
    return min(h, w) / SHORT


def _seeds(t: int, h: int, w: int, groups: int) -> Tensor:
    """Indices of patches on an even grid over the middle frame, at most `groups` of them."""
    down = min(h, max(1, int((groups * h / w) ** 0.5)))
    across = min(w, max(1, groups // down))
    ys = (torch.arange(down) * 2 + 1) * h // (2 * down)
    xs = (torch.arange(across) * 2 + 1) * w // (2 * across)
    return ((t // 2 * h + ys[:, None]) * w + xs).flatten()


def _copy(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.clone()
