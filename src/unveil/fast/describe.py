"""The default clustering: linear in the frames, flat in memory, with a background.

    grouper = Grouper()                       # level 1, while the video runs: fast.groups
    for frames in video.chunks(16):
        grouper.add(backbone.encode(frames), frames)
    state = describe(grouper.finish())        # level 2, once: prototypes, foreground, objects
    found = find(state)                       # ids a patch; again with other wishes: no features

`State` is all that a new cut needs, small enough to lie beside the results (`state.npz`).
"""

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Integer

from unveil.attention.block import Block
from unveil.attention.rows import TEMPERATURE
from unveil.fast.contacts import contacts
from unveil.fast.foreground import foreground, objectness
from unveil.fast.groups import Groups
from unveil.fast.instances import instances
from unveil.fast.parts import WHOLE, distances, parts, spread
from unveil.fast.prototypes import PROTOTYPES, attend, summarise
from unveil.fast.prototypes import rows as attention_rows
from unveil.fast.state import INSIDE, Objects, Ranked, State
from unveil.fast.tree import cut, cut_below, link
from unveil.settings import check_cut

GROUND_SPLIT = 0.4
"""Height at which the background is cut, where it is asked for."""
MAX_OBJECTS = 20


def describe(
    groups: Groups,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
    prototypes: int = PROTOTYPES,
    seed: int = 0,
) -> State:
    """Foreground, objects and the merge tree of a video's groups.

    block: the trained block; without one, cosine rows at a temperature. prototypes: at most so
    many. seed: of the prototypes' start.
    """
    summary = summarise(groups, prototypes, seed)
    how: dict[str, Any] = {"prototypes": summary, "block": block, "temperature": temperature}
    counts = groups.counts.double().cpu().numpy()
    touching = contacts(groups)
    seen = partial(attend, groups.keys, **how)
    score = objectness(groups, seen, summary.member)
    share = foreground(score, counts, touching.all)
    if not groups.saliency.any():
        share = np.zeros_like(share)  # no frame shows anything
    member = summary.member.cpu().numpy()
    object_ = instances(groups, share > INSIDE, touching)
    share[(share > INSIDE) & (object_ < 0)] = 0.0  # too small to be an object
    part, of = parts(object_, member, counts)
    rows = attention_rows(summary.keys, **how)
    grounds, ground = np.unique(member, return_inverse=True)
    kinds = np.concatenate((of[:, 1], grounds)).astype(int)
    owner = np.concatenate((of[:, 0], np.full(len(grounds), -1)))
    mass = np.concatenate((np.bincount(part[part >= 0], counts[part >= 0]), summary.mass.cpu()))
    return State(
        groups=groups.ids,
        share=share.astype(np.float32),
        leaf=spread(part, touching.all),
        ground=ground + len(of),
        tree=link(distances(rows[kinds], owner), mass),
        mass=mass,
        objects=len(of),
    )


def find(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
) -> Objects:
    """The objects of a video, by default as many as it seems to have; at most 20.

    objects: so many (fewer where there is less to tell apart). granularity: 0, all foreground is
    one object, 0.5, objects are whole, … 1, every part is one. keep_background: all clusters
    become objects, the background's too. Takes milliseconds. Raises InputError for wishes that
    contradict or make no sense.
    """
    found = of_groups(state, objects, granularity, keep_background)
    return Objects(found.near[state.groups], found.share[state.groups], found.scores)


def of_groups(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
) -> Ranked:
    """What `find` finds, a group at a time: nothing as large as the video's patches is made."""
    check_cut(objects, granularity)
    leaves = np.arange(len(state.tree) + 1)
    front, everything = leaves < state.objects, np.ones(len(leaves), bool)
    if keep_background and objects is not None:
        piece = cut(state.tree, everything, state.mass, objects)
    else:
        piece = _cut_front(state, front, objects, granularity)
        if keep_background:
            height = GROUND_SPLIT if granularity is None else WHOLE * (1 - granularity)
            back = cut_below(state.tree, ~front, height)
            piece = np.where(front, piece, back + piece.max())
    return _ranked(state, piece, keep_background)


def _cut_front(
    state: State, front: np.ndarray, objects: int | None, granularity: float | None
) -> np.ndarray:
    if objects is None:
        height = WHOLE if granularity is None else 2 * WHOLE * (1 - granularity)
        piece = cut_below(state.tree, front, height)
        if granularity is not None or piece.max(initial=0) <= MAX_OBJECTS:
            return piece
    return cut(state.tree, front, state.mass, objects or MAX_OBJECTS)


def _ranked(state: State, piece: Integer[np.ndarray, " l"], keep_background: bool) -> Ranked:
    """Pieces renumbered 1 … K by falling score.

    The score of a piece is the mean probability of its patches times the root of the share of
    frames that show it.
    """
    front = state.share > INSIDE
    leaf = np.where(front, state.leaf, state.ground) if keep_background else state.leaf
    of_group = np.where(leaf >= 0, piece[leaf], 0)
    share = np.ones_like(state.share) if keep_background else state.share
    k = int(piece.max(initial=0))
    counts = np.where(share > INSIDE, state.patches, 0).astype(float)
    mass = np.bincount(of_group, counts, minlength=k + 1)[1:]
    likely = np.bincount(of_group, counts * state.share, minlength=k + 1)[1:]
    t, frame, group = len(state.groups), *state.sights
    shown = np.where(share > INSIDE, of_group, 0)[group]
    frames = (np.bincount(frame * (k + 1) + shown, minlength=t * (k + 1)) > 0).reshape(t, -1).sum(0)
    there = frames[1:] / t
    score = likely / np.maximum(mass, 1) * np.sqrt(there)
    order = np.argsort(-score, kind="stable")
    order = order[mass[order] > 0]
    dtype: type[np.unsignedinteger] = np.uint8 if k <= np.iinfo(np.uint8).max else np.uint16
    id = np.zeros(k + 1, dtype)
    id[order + 1] = np.arange(1, len(order) + 1)
    near = id[of_group]
    share = np.where(near > 0, share, 0).astype(np.float32)
    return Ranked(near, share, {i + 1: round(float(score[j]), 4) for i, j in enumerate(order)})
