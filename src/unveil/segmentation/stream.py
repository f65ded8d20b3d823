"""Objects of a video that never ends: labels with a bounded delay, ids that last.

    stream = Stream()
    for frames in chunks:
        for labelled in stream.add(backbone.encode(frames), frames):
            ...                                  # at most `delay` frames late
    for labelled in stream.flush(): ...

Every block of frames is cut together with the blocks before it, as many as memory holds, and the
pieces take the ids that the shared past already has. What touches what in a block, and between it
and the next, is counted once, when it comes; the cut is that of `fast.describe` all the same. A
piece without a past takes the id of an object that is gone and looked like it, or a new one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.attention.objects_head import ObjectsHead
from unveil.checks import require
from unveil.errors import InputError
from unveil.fast.contacts import Neighbours, chained, next_neighbours
from unveil.fast.describe import describe_moving, find
from unveil.fast.groups import BLOCK, Grouper, Groups, join
from unveil.fast.kmeans import weighted_sums
from unveil.fast.state import INSIDE, Objects
from unveil.types import Features

WARM_UP = 3
"""Blocks seen before the first label is given."""
MEMORY = 16
"""Blocks remembered, 128 frames, and cut together with every new one."""
PROTOTYPES = 128
"""Of a cut, at most; a whole video has twice as many. What more of both would be worth
`benchmarks/window.py` measures."""
ALIKE = 0.92
"""Cosine of centred mean keys from which a piece is an object that was gone: between foregrounds of
two videos it is 0.88 in the median, between the two halves of one 0.97."""
MAX_ID = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Labelled:
    """Frames that are decided: near and share as `Objects` has them, with ids that last.

    begins: whether a shot begins with them.
    """

    frames: UInt8[np.ndarray, "t H W 3"]
    near: Integer[np.ndarray, "t h w"]
    share: Float[np.ndarray, "t h w"]
    begins: bool = False

    @property
    def ids(self) -> Integer[np.ndarray, "t h w"]:
        """The object of every patch, 0 = background."""
        return np.where(self.share > INSIDE, self.near, 0)

    @property
    def patches(self) -> tuple[np.ndarray, np.ndarray]:
        """What `refine.sharpen` takes."""
        return self.near, self.share


@dataclass
class Stream:
    """Keeps what has been seen, and labels what comes.

    attention: the trained block, or None for cosine rows. head: the objects' head, or None.
    warm_up, memory: in blocks of eight frames. prototypes, seed and the wishes:
    as `fast.describe.describe` and `find` take them, a window each. Memory is bounded by
    `memory` blocks, and one key and one score an object ever seen. The answer does not depend on
    the chunks that frames come in.
    """

    attention: Block | None = None
    head: ObjectsHead | None = None
    warm_up: int = WARM_UP
    memory: int = MEMORY
    prototypes: int = PROTOTYPES
    seed: int = 0
    objects: int | None = None
    granularity: float | None = None
    keep_background: bool = False
    min_score: float | None = None
    scores: dict[int, float] = field(default_factory=dict, init=False)
    """Of every id seen so far, 0 … 1, as the newest cut that it is in has it."""
    _grouper: Grouper = field(init=False, repr=False)
    _frames: deque[np.ndarray] = field(default_factory=deque, repr=False)
    _past: list[Groups] = field(default_factory=list, repr=False)
    _near: list[Neighbours] = field(default_factory=list, repr=False)
    _ids: list[np.ndarray] = field(default_factory=list, repr=False)
    _looks: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._grouper = Grouper(self.head)

    @property
    def delay(self) -> int:
        """How many frames may wait for their labels, at most."""
        return self.warm_up * BLOCK - 1

    def add(self, features: Features, frames: UInt8[np.ndarray, "t H W 3"]) -> Iterator[Labelled]:
        """Take the next frames and their features; yields those that are decided."""
        self._frames.extend(frames)
        self._grouper.add(features, frames)
        for block in self._grouper.pop():
            yield from self._take(block)

    def flush(self) -> Iterator[Labelled]:
        """The frames that still wait, once the video has ended after all."""
        for block in self._grouper.pop(flush=True):
            yield from self._take(block, last=True)
        if self._past and len(self._ids) < len(self._past):
            yield from self._label()

    def _take(self, block: Groups, last: bool = False) -> Iterator[Labelled]:
        self._near.append(next_neighbours(block, self._past[-1] if self._past else None))
        self._past.append(block)
        if self._ids or last or len(self._past) >= self.warm_up:
            yield from self._label()

    def _label(self) -> Iterator[Labelled]:
        """Cut all that is remembered, and name the pieces of the blocks that have no ids yet."""
        groups = join(self._past)
        known = chained(self._near, self._past)
        state, groups = describe_moving(
            groups,
            self.attention,
            seed=self.seed,
            known=known,
            since=len(self._ids),
            prototypes=self.prototypes,
        )
        sizes = [len(block) for block in self._past]
        moves = groups.motion.split(sizes), groups.measured.split(sizes)
        self._past = [
            replace(block, motion=motion, measured=measured)
            for block, motion, measured in zip(self._past, *moves, strict=True)
        ]
        wishes = (self.objects, self.granularity, self.keep_background, self.min_score)
        found = _numbered(find(state, *wishes))
        names = self._names(found, groups)
        self.scores |= {int(names[i]): score for i, score in found.scores.items()}
        named = names[found.near]
        start = 0
        for i, block in enumerate(self._past):
            stop = start + len(block.ids)
            if i >= len(self._ids):
                frames = np.stack([self._frames.popleft() for _ in range(stop - start)])
                begins = i == 0 or bool(block.shot[0] != self._past[i - 1].shot[0])
                decided = Labelled(frames, named[start:stop], found.share[start:stop], begins)
                self._ids.append(decided.ids)
                yield decided
            start = stop
        for kept in (self._past, self._near, self._ids):
            del kept[: -self.memory]

    def _names(self, found: Objects, groups: Groups) -> np.ndarray:
        """The lasting id of every piece: uint16 [K + 1], 0 for background."""
        k = len(found.scores)
        names = np.zeros(k + 1, np.uint16)
        looks = _looks(found, groups)
        past = np.concatenate(self._ids).astype(int) if self._ids else np.zeros((0, 0, 0), int)
        known = np.array(sorted(self._looks), int)
        if past.size and len(known):
            # Rows: pieces; columns: ids; in patches that both claim.
            now = found.ids[: len(past)].ravel().astype(int)
            ids = int(known.max()) + 1
            both = np.bincount(now * ids + past.ravel(), minlength=(k + 1) * ids)
            shared = both.reshape(k + 1, ids)[1:, known]
            for piece, j in zip(*linear_sum_assignment(-shared), strict=True):
                if shared[piece, j] > 0:
                    names[piece + 1] = known[j]
        for piece in np.flatnonzero(names[1:] == 0) + 1:
            names[piece] = self._recall(looks[piece - 1], names, past)
        for piece in range(1, k + 1):
            self._looks[int(names[piece])] = looks[piece - 1]
        return names

    def _recall(self, look: Tensor, taken: np.ndarray, past: np.ndarray) -> int:
        """The id of an object out of memory that looked so, or the next free one."""
        here = set(np.unique(past).tolist()) | set(taken.tolist())
        gone = [i for i in self._looks if i not in here]
        if gone:
            alike = torch.stack([self._looks[i] for i in gone]) @ look
            if alike.max() > ALIKE:
                return gone[int(alike.argmax())]
        return min(max((*self._looks, *taken.tolist(), 0)) + 1, MAX_ID)


def in_blocks(
    frames: Iterable[np.ndarray], size: int = BLOCK
) -> Iterator[UInt8[np.ndarray, "t H W 3"]]:
    """Single frames [H, W, 3], or chunks of them [t, H, W, 3], as chunks of size frames each.

    The last may be shorter. Every chunk is an array of its own: whoever gave the frames may use
    their memory again at once, as cameras do. Raises InputError for what is not uint8 RGB of one
    size.
    """
    expected: tuple[int, ...] = ()
    waiting = 0
    for some in frames:
        for frame in _single(some):
            expected = expected or frame.shape
            require(frame.shape == expected, "frames", str(list(expected)), list(frame.shape))
            if not waiting:
                block = np.empty((size, *expected), np.uint8)
            block[waiting] = frame
            waiting += 1
            if waiting == size:
                yield block
                waiting = 0
    if waiting:
        yield block[:waiting]


def _single(frames: object) -> UInt8[np.ndarray, "t H W 3"]:
    """A frame, or a chunk of them, as a chunk. Raises InputError for anything else."""
    form = "uint8 [H, W, 3] or [t, H, W, 3] of at least one pixel"
    if not isinstance(frames, np.ndarray):
        raise InputError(f"frames: expected {form}, got {type(frames).__name__}")
    is_rgb = frames.dtype == np.uint8 and frames.ndim in (3, 4) and frames.shape[-1] == 3
    has_pixels = 0 not in frames.shape[-3:]
    require(is_rgb and has_pixels, "frames", form, f"{frames.dtype} {list(frames.shape)}")
    return frames if frames.ndim == 4 else frames[None]


def _numbered(found: Objects) -> Objects:
    """The same with ids 1 … K, without gaps."""
    ids = np.array([0, *sorted(found.scores)])
    near = np.searchsorted(ids, found.near).astype(found.near.dtype)
    scores = {i: found.scores[id] for i, id in enumerate(ids[1:].tolist(), 1)}
    return Objects(near, found.share, scores)


def _looks(found: Objects, groups: Groups) -> Tensor:
    """The mean centred key of every piece, [K, C] of length 1."""
    of_group = np.zeros(len(groups), int)
    of_group[groups.ids.ravel()] = found.ids.ravel()
    of = torch.from_numpy(of_group)
    inside = of.nonzero()[:, 0]
    total = weighted_sums(
        groups.keys[inside],
        of[inside],
        groups.counts[inside],
        len(found.scores) + 1,
        of=lambda keys: keys - groups.mean,
    )
    return F.normalize(total[1:], dim=1)
