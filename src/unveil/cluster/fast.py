"""The default clustering: linear in the frames, flat in memory, with a background.

    grouper = Grouper()                       # level 1, while the video runs: cluster.micro
    for frames in video.chunks(16):
        grouper.add(backbone.encode(frames), frames)
    state = describe(grouper.finish())        # level 2, once: cluster.tree and objectness
    found = find(state)                       # ids a patch; again with other wishes: no features

`State` is all that a new cut needs, small enough to lie beside the results (`state.npz`).
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from unveil import objectness
from unveil.attention import TEMPERATURE, Block
from unveil.cluster import tree as trees
from unveil.cluster.micro import Groups
from unveil.errors import DataError, InputError

log = logging.getLogger(__name__)

PRICE = 0.01
"""Of a node of the tree, as a share of the scatter of objectness: nodes are split while that
explains more."""
SPLIT = 0.4
"""Parts of the foreground that merge above this share of the tree's height are two objects. Lower
parts a rider from a bicycle, and also a dog from its legs."""
MAX_OBJECTS = 20
_FORMAT = 1


@dataclass(frozen=True)
class State:
    """All that is needed to cut a video anew.

    patches: uint16 [T, h, w], the prototype of every patch. tree: [M-1, 4], SciPy linkage of the
    prototypes. score: [M] objectness. mass: [M] patches. threshold: of the score.
    """

    patches: Integer[np.ndarray, "t h w"]
    tree: Float[np.ndarray, "e 4"]
    score: Float[np.ndarray, " m"]
    mass: Float[np.ndarray, " m"]
    threshold: float

    def save(self, path: Path) -> None:
        """Write as one compressed .npz, under a temporary name first."""
        partial = path.with_name(f".{path.name}.partial")
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        with partial.open("wb") as file:
            np.savez_compressed(file, format=_FORMAT, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote. Raises DataError for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["format"]) != _FORMAT:
                    raise DataError(f"{path} was written by another version; segment anew")
                arrays = {name: file[name] for name in cls.__dataclass_fields__}
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"no {path}; it is written by 'unveil segment --mode fast'") from None
        except Exception as error:
            raise DataError(f"{path} is not a state that Unveil wrote: {error}") from error
        return cls(**arrays | {"threshold": float(arrays["threshold"])})


@dataclass(frozen=True)
class Objects:
    """The objects of a video on the patch grid.

    ids: [T, h, w], 0 = background. scores: id → 0 … 1; ids ascend as scores fall.
    """

    ids: Integer[np.ndarray, "t h w"]
    scores: dict[int, float]


def describe(
    groups: Groups,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
    prototypes: int = trees.PROTOTYPES,
    seed: int = 0,
) -> State:
    """Prototypes, merge tree and objectness of a video's groups.

    block: the trained block; without one, cosine rows at a temperature. prototypes: at most so
    many. seed: of the prototypes' start.
    """
    summary = trees.summarise(groups, prototypes, seed)
    p = trees.rows(summary.keys, summary, block, temperature)
    of_groups = trees.rows(groups.keys, summary, block, temperature)
    score = objectness.objectness(groups, of_groups, summary.member)
    counts, member = groups.counts.cpu().numpy(), summary.member.cpu().numpy()
    mass = np.bincount(member, weights=counts)
    return State(
        patches=member.astype(np.uint16)[groups.ids],
        tree=trees.link(p, summary.mass),
        score=np.bincount(member, weights=counts * score) / mass,
        mass=mass,
        threshold=objectness.threshold(score, counts),
    )


def find(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
) -> Objects:
    """The objects of a video, by default as many as it seems to have; at most 20.

    objects: so many (fewer where there is less to tell apart). granularity: 0, all foreground is
    one object, … 1, every prototype is one. keep_background: all clusters become objects, the
    background's too. Takes milliseconds. Raises InputError for wishes that contradict or make no
    sense.
    """
    if objects is not None and granularity is not None:
        raise InputError("give either objects or granularity, not both")
    if objects is not None and objects < 1:
        raise InputError(f"objects: expected at least 1, got {objects}")
    if granularity is not None and not 0 <= granularity <= 1:
        raise InputError(f"granularity: expected 0 … 1, got {granularity}")
    keep = np.ones(len(state.mass), bool) if keep_background else _foreground(state)
    if objects is not None:
        piece = trees.cut(state.tree, keep, objects)
    else:
        top = state.tree[-1, 2] if len(state.tree) else 0.0
        share = SPLIT if granularity is None else 1 - granularity
        piece = trees.cut_below(state.tree, keep, top * share)
        if granularity is None and piece.max() > MAX_OBJECTS:
            piece = trees.cut(state.tree, keep, MAX_OBJECTS)
    return _ranked(state, piece)


def _foreground(state: State) -> np.ndarray:
    """The prototypes that are of objects: nodes of the tree whose mean score is high enough."""
    node = trees.prune(state.tree, state.score, state.mass, PRICE)
    mean = np.bincount(node, state.mass * state.score) / np.bincount(node, state.mass)
    keep = (mean > state.threshold)[node]
    # A video in which nothing clears the threshold still shows what stands out most.
    return keep if keep.any() else (mean == mean.max())[node]


def _ranked(state: State, piece: np.ndarray) -> Objects:
    """Pieces renumbered 1 … K by falling score: s / (s + threshold), one half at the threshold."""
    k = int(piece.max())
    mass = np.bincount(piece, state.mass, minlength=k + 1)[1:]
    mean = np.bincount(piece, state.mass * state.score, minlength=k + 1)[1:] / mass
    order = np.argsort(-mean, kind="stable")
    id = np.zeros(k + 1, np.uint8 if k <= np.iinfo(np.uint8).max else np.uint16)
    id[order + 1] = np.arange(1, k + 1)
    score = mean / (mean + max(state.threshold, 1e-6))
    scores = {i + 1: round(float(score[j]), 4) for i, j in enumerate(order)}
    return Objects(id[piece][state.patches], scores)
