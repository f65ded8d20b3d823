"""The default clustering: linear in the frames, flat in memory, with a background.

    grouper = Grouper()                       # level 1, while the video runs: fast.groups
    for frames in video.chunks(16):
        grouper.add(backbone.encode(frames), frames)
    state = describe(grouper.finish())        # level 2, once: prototypes, foreground, objects
    found = find(state)                       # ids a patch; again with other wishes: no features

`State` is all that a new cut needs, small enough to lie beside the results (`state.npz`).
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from unveil.attention.block import Block
from unveil.attention.rows import TEMPERATURE
from unveil.fast.contacts import Neighbours, contacts
from unveil.fast.foreground import foreground, objectness
from unveil.fast.groups import Groups, look_again
from unveil.fast.instances import instances
from unveil.fast.parts import distances, parts, spread
from unveil.fast.prototypes import PROTOTYPES, Attention, summarise
from unveil.fast.prototypes import rows as attention_rows
from unveil.fast.state import GROUND_SPLIT, INSIDE, WHOLE, Objects, Ranked, State
from unveil.fast.tree import cut_further, link, merges_below
from unveil.settings import check_cut

MAX_OBJECTS = 20
"""Objects of a shot at most, where nobody says how many."""


def describe(
    groups: Groups,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
    prototypes: int = PROTOTYPES,
    seed: int = 0,
    known: Neighbours | None = None,
) -> State:
    """Foreground, objects and the merge tree of a video's groups.

    block: the trained block; without one, cosine rows at a temperature. prototypes: at most so
    many. seed: of the prototypes' start. known: which groups touch, where somebody knows it.
    """
    return describe_moving(groups, block, temperature, prototypes, seed, known)[0]


def describe_moving(
    groups: Groups,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
    prototypes: int = PROTOTYPES,
    seed: int = 0,
    known: Neighbours | None = None,
    since: int = 0,
) -> tuple[State, Groups]:
    """The same, and the groups with what was seen of their motion at a second look.

    since: the first block to look at again; those before were.
    """
    summary = summarise(groups, prototypes, seed)
    how: dict[str, Any] = {"prototypes": summary, "block": block, "temperature": temperature}
    counts = groups.counts.double().cpu().numpy()
    shot = groups.shot.cpu().numpy()
    dark = np.bincount(shot, groups.saliency.cpu().numpy())[shot] == 0  # its shot shows nothing
    touching = contacts(groups, known=known)
    seen = Attention(groups.keys, **how)

    def judged(groups: Groups) -> Float[np.ndarray, " g"]:
        score = objectness(groups, seen, summary.member)
        return np.where(dark, 0.0, foreground(score, counts, touching.all, shot))

    groups = look_again(groups, judged(groups), since)
    share = judged(groups)
    member = summary.member.cpu().numpy()
    object_ = instances(groups, share, touching)
    share[(share > INSIDE) & (object_ < 0)] = 0.0  # too small to be an object
    part, of = parts(object_, member, counts)
    rows = attention_rows(summary.keys, **how)
    grounds, ground = np.unique(member, return_inverse=True)
    kinds = np.concatenate((of[:, 1], grounds)).astype(int)
    owner = np.concatenate((of[:, 0], np.full(len(grounds), -1)))
    mass = np.concatenate((np.bincount(part[part >= 0], counts[part >= 0]), summary.mass.cpu()))
    state = State(
        groups=groups.ids,
        share=share.astype(np.float32),
        leaf=spread(part, touching.all),
        ground=ground + len(of),
        tree=link(distances(rows[kinds], owner), mass),
        mass=mass,
        objects=len(of),
        shots=groups.shots,
    )
    return state, groups


def find(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    min_score: float | None = None,
) -> Objects:
    """The objects of a video, by default as many as it seems to have; at most the 20 best,
    for each shot that there is.

    objects: the best so many; only where there are fewer are they cut further, what parts most
    clearly first. granularity: 0, all foreground is one object, 0.5, objects are whole, … 1, every
    part is one. keep_background: the background's clusters are objects too. min_score: objects of a
    lower score are none. What is left out becomes background. An object that is in two cuts has
    the same id in both (`State.names`). Takes milliseconds. Raises InputError for wishes that
    contradict or make no sense.
    """
    found = of_groups(state, objects, granularity, keep_background, min_score)
    return Objects(found.near[state.groups], found.share[state.groups], found.scores)


def of_groups(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    min_score: float | None = None,
) -> Ranked:
    """What `find` finds, a group at a time: nothing as large as the video's patches is made."""
    check_cut(objects, granularity, min_score)
    piece = _pieces(state, objects, granularity, keep_background)
    k = int(piece.max(initial=0))
    id = np.full(k + 1, len(piece) + 1)
    np.minimum.at(id, piece, state.names)
    scores = dict(zip(id[1:].tolist(), state.scores(piece).tolist(), strict=True))
    most = objects
    if objects is None and granularity is None and not keep_background:
        most = MAX_OBJECTS * len(state.shots)
    chosen = sorted(i for i, score in scores.items() if score >= (min_score or 0.0))[:most]
    id[0] = 0
    id[~np.isin(id, chosen)] = 0
    at = state.part if keep_background else state.leaf
    fits = max(chosen, default=0) <= np.iinfo(np.uint8).max
    dtype: type[np.unsignedinteger] = np.uint8 if fits else np.uint16
    near = np.where(at >= 0, id[piece[at]], 0).astype(dtype)
    share = np.ones_like(state.share) if keep_background else state.share
    return Ranked(
        near, np.where(near > 0, share, 0).astype(np.float32), {i: scores[i] for i in chosen}
    )


def _pieces(
    state: State, objects: int | None, granularity: float | None, keep_background: bool
) -> Integer[np.ndarray, " l"]:
    """The piece of every part, 1 … K; 0 for those of the background, unless it is kept."""
    front, height, ground = state.front, WHOLE, GROUND_SPLIT
    if granularity is not None:
        height, ground = 2 * WHOLE * (1 - granularity), WHOLE * (1 - granularity)
    merges = merges_below(state.tree, front, height)
    if keep_background:
        merges += merges_below(state.tree, ~front, ground)
    kept = front | keep_background
    pieces = max(objects or 0, int(kept.sum()) - len(merges))
    return cut_further(state.tree, kept, state.mass, merges, pieces)
