"""What edits make of a state, one edit at a time; nothing is changed, every step is a new value.

    board = Board(State.load("out/dog/state.npz"), Evidence.load("out/dog/evidence.npz"))
    scene = play(board, log.cut, log.edits)
    scene.objects(board)                      # ids, shares and scores a patch, as `find` has them

What a person fixed (any edit of an object fixes it) stays as it is when a slider moves: the
automatic cut only gets what is left. Ids stay with their objects, too: a piece has one id in all
cuts of a state (`State.names`), and another only where a fixed object took it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from unveil.editing import edits as e
from unveil.editing.apart import apart
from unveil.editing.board import Board, Sliders
from unveil.editing.follow import follow
from unveil.editing.stroke import Painted, Stroke
from unveil.errors import InputError
from unveil.fast.state import INSIDE, Objects
from unveil.fast.tree import cut, cut_below

MAX_ID = 4095
"""More objects than this no result has."""
_LEFT = 0.1  # share of an automatic object that must be left by the fixed ones for it to remain
_COVERED = 0.5  # share of a group in a frame that a brush has to cover to take it along
_REACH = 2  # patches around a point in which its object is looked for


@dataclass(frozen=True)
class Thing:
    """What is said of one object.

    fixed: a person has touched it. root: the id of the object that it was cut out of by its
    granularity, its own otherwise. score: as the automatic cut gave it; None where an edit changed
    it and it follows from its patches. granularity, min_score: where its own sliders stand.
    """

    name: str = ""
    class_: str = ""
    colour: str | None = None
    fixed: bool = False
    root: int = 0
    score: float | None = None
    granularity: float = 0.0
    min_score: float = INSIDE


@dataclass(frozen=True)
class Scene:
    """The objects of a video after some edits.

    near: [T, L] the object that a cell is of or next to, 0 = none. share: [T, L] 0 … 1, how much of
    it is that object's, as found. least: [T, L] the share above which it is of it. fixed: [T, L]
    cells that a person decided on. things: by id. strokes: of the brush, and what became of their
    objects, in their order. sliders: where they stand.
    """

    near: Integer[np.ndarray, "t l"]
    share: Float[np.ndarray, "t l"]
    least: Float[np.ndarray, "t l"]
    fixed: Bool[np.ndarray, "t l"]
    things: Mapping[int, Thing]
    strokes: tuple[Painted, ...] = ()
    sliders: Sliders = field(default_factory=Sliders)

    def inside(self) -> Bool[np.ndarray, "t l"]:
        """The cells that are of what they are next to."""
        return self.share > self.least

    def hard(self) -> Integer[np.ndarray, "t l"]:
        """The object that has most of a cell, 0 = background."""
        return np.where(self.inside(), self.near, 0)

    def weighed(self, frames: int | slice = slice(None)) -> Float[np.ndarray, "*t l"]:
        """Shares of some frames, weighed so that one that is at its least is undecided."""
        share, least = self.share[frames], self.least[frames]
        if (least == INSIDE).all():
            return share
        share = share.astype(np.float64)
        yes, no = share * (1 - least), (1 - share) * least
        return np.where(least == INSIDE, share, yes / (yes + no)).astype(np.float32)

    def areas(self, board: Board) -> Int[np.ndarray, "t k"]:
        """Patches of every id, from 0, in every frame."""
        k = max(self.things, default=0) + 1
        t, _ = self.near.shape
        at = np.arange(t)[:, None] * k + self.hard()
        counts = np.bincount(at.ravel(), board.patches.ravel(), minlength=t * k)
        return counts.reshape(t, k).astype(np.int64)

    def scores(self, board: Board, areas: Int[np.ndarray, "t k"] | None = None) -> dict[int, float]:
        """The score of every object, as `find` scores those it cut itself.

        areas: of this scene, where they are known already.

        That of an object that an edit changed: the mean share of its patches times the root of the
        share of frames that show it.
        """
        if areas is None:
            areas = self.areas(board)
        t, k = areas.shape
        hard, weight = self.hard().ravel(), board.patches.ravel()
        likely = np.bincount(hard, weight * self.weighed().ravel().astype(float), minlength=k)
        mass = areas.sum(0)
        score = likely / np.maximum(mass, 1) * np.sqrt((areas > 0).sum(0) / t)
        return {
            id: round(float(score[id]), 4) if thing.score is None else thing.score
            for id, thing in sorted(self.things.items())
        }

    def objects(self, board: Board) -> Objects:
        """The objects on the patch grid, with the ids that a person knows them by."""
        dtype = np.uint8 if max(self.things, default=0) <= 255 else np.uint16
        frames = np.arange(board.frames)[:, None, None]
        near = self.near.astype(dtype)[frames, board.of_patch]
        share = np.where(near > 0, self.weighed()[frames, board.of_patch], 0).astype(np.float32)
        return Objects(near, share, self.scores(board))


def start(board: Board, sliders: Sliders) -> Scene:
    """The scene before any edit: the automatic cut."""
    shape = (board.frames, board.cells)
    near, share, least = np.zeros(shape, np.int32), np.zeros(shape, np.float32), np.float32(INSIDE)
    blank = Scene(near, share, np.full(shape, least), np.zeros(shape, bool), {})
    return _slide(blank, board, sliders)


def play(board: Board, wishes: Mapping[str, Any], log: Iterable[e.Edit]) -> Scene:
    """The scene after a log of edits, undone ones left out.

    wishes: of the cut that the edits start from. Raises InputError for an edit that cannot be done,
    with its place among those that stand.
    """
    scene = start(board, Sliders(**wishes))
    done, _ = e.standing(tuple(log))
    for i, edit in enumerate(done, 1):
        try:
            scene = apply(scene, board, edit)
        except InputError as error:
            what = e.plain(edit)["edit"]
            raise InputError(f"edit {i} of {len(done)}, {what}: {error}") from error
    return scene


def apply(scene: Scene, board: Board, edit: e.Edit) -> Scene:
    """The scene after one edit. Raises InputError where it cannot be done."""
    if isinstance(edit, e.Undo | e.Redo):
        raise InputError("undo and redo are of a log, not of a scene")
    if len(scene.things) >= MAX_ID:
        raise InputError(f"there are {MAX_ID} objects already")
    return _DO[type(edit)](scene, board, edit)


def target(scene: Scene, board: Board, of: e.Target) -> int:
    """The id that an edit means. Raises InputError where there is no such object."""
    if isinstance(of, int):
        if of not in scene.things:
            raise InputError(f"there is no object {of}: there are {sorted(scene.things)}")
        return of
    frame, row, column = board.patch_at(*of)
    ids = scene.hard()[frame][board.of_patch[frame]]
    for reach in range(_REACH + 1):
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        around = ids[rows, columns]
        if around.any():
            return int(np.bincount(around[around > 0]).argmax())
    raise InputError(f"frame {frame}: there is no object at {of[1]:g}, {of[2]:g}")


def cluster_at(scene: Scene, board: Board, at: e.Point) -> Bool[np.ndarray, "t l"]:
    """The cells of the cluster at a point that are of no object."""
    frame, row, column = board.patch_at(*at)
    cluster = board.clusters(scene.sliders.granularity).near
    group = board.state.groups[frame, row, column]
    return (cluster[board.group] == cluster[group]) & (scene.hard() == 0) & (board.patches > 0)


def _promote(scene: Scene, board: Board, edit: e.Promote) -> Scene:
    frame, row, column = board.patch_at(*edit.at)
    here = int(scene.hard()[frame, board.of_patch[frame, row, column]])
    if here:
        return _fix(scene, here)
    id = _free(_taken(scene.things))
    cells = cluster_at(scene, board, edit.at)
    return _give(scene, cells, id, Thing(fixed=True, root=id), share=1.0)


def _merge(scene: Scene, board: Board, edit: e.Merge | e.Join) -> Scene:
    ids = list(dict.fromkeys(target(scene, board, of) for of in edit.objects))
    if len(ids) < 2:
        raise InputError(f"both are object {ids[0]} already")
    if isinstance(edit, e.Join):
        shown = scene.areas(board)[:, ids] > 0
        if (both := np.flatnonzero(shown.sum(1) > 1)).size:
            raise InputError(
                f"objects {', '.join(map(str, ids))} are seen together in frame {both[0]}: merge "
                "them instead"
            )
    into = ids[0]
    things = {id: thing for id, thing in scene.things.items() if id not in ids[1:]}
    kept = scene.things[into]
    for id in ids[1:]:
        other = scene.things[id]
        kept = replace(kept, name=kept.name or other.name, class_=kept.class_ or other.class_)
    things[into] = replace(kept, fixed=True, root=into, score=None, granularity=0.0)
    mine = np.isin(scene.near, ids)
    near = np.where(mine, into, scene.near).astype(np.int32)
    return replace(
        scene,
        near=near,
        fixed=scene.fixed | mine,
        things=things,
        strokes=follow(scene.strokes, board, scene.near, near, dict.fromkeys(ids, into)),
    )


def _split(scene: Scene, board: Board, edit: e.Split) -> Scene:
    id = target(scene, board, edit.of)
    mine = scene.near == id
    if edit.sides is None:
        leaf, mass = _leaves(scene, board, mine)
        pieces = cut(board.state.tree, mass > 0, mass, edit.into or 2)
        if pieces.max() < 2:
            raise InputError(
                f"object {id} has one part only: split it by a click on either side instead"
            )
        piece = np.where(mine, pieces[leaf] - 1, -1)
    else:
        sides = [[_cell_at(board, mine, point) for point in points] for points in edit.sides]
        piece = apart(board, mine, sides)
        if missing := sorted(set(range(len(sides))) - set(np.unique(piece).tolist())):
            raise InputError(f"side {missing[0] + 1} came out empty: click nearer to its middle")
    whole = scene = _fix(scene, id, changed=True)
    for i in np.unique(piece[piece > 0]).tolist():
        new = _free(_taken(scene.things))
        made = _part(scene.things[id], new)
        scene = _give(scene, piece == i, new, made)
    strokes = follow(scene.strokes, board, whole.near, scene.near, {id: id})
    return replace(scene, strokes=strokes)


def _cell_at(board: Board, mine: Bool[np.ndarray, "t l"], at: e.Point) -> tuple[int, int]:
    """Frame and cell of an object's patch at a point, or next to it: edges are hard to hit."""
    frame, row, column = board.patch_at(*at)
    cells = board.of_patch[frame]
    rows, columns = np.nonzero(mine[frame][cells])
    far = np.maximum(np.abs(rows - row), np.abs(columns - column))
    near = np.flatnonzero(far <= _REACH)
    if not near.size:
        raise InputError(f"frame {frame}: a point lies beside the object; click on it")
    best = near[np.lexsort((near, np.hypot(rows - row, columns - column)[near], far[near]))[0]]
    return frame, int(cells[rows[best], columns[best]])


def _drop(scene: Scene, board: Board, edit: e.Drop) -> Scene:
    id = target(scene, board, edit.of)
    mine = scene.near == id
    near = np.where(mine, 0, scene.near).astype(np.int32)
    return replace(
        scene,
        near=near,
        share=np.where(mine, 0, scene.share).astype(np.float32),
        fixed=scene.fixed | mine,
        things={other: thing for other, thing in scene.things.items() if other != id},
        strokes=follow(scene.strokes, board, scene.near, near, {id: 0}),
    )


def _rename(scene: Scene, board: Board, edit: e.Rename) -> Scene:
    return _fix(scene, target(scene, board, edit.of), name=edit.name)


def _classify(scene: Scene, board: Board, edit: e.Class) -> Scene:
    return _fix(scene, target(scene, board, edit.of), class_=edit.class_)


def _colour(scene: Scene, board: Board, edit: e.Colour) -> Scene:
    return _fix(scene, target(scene, board, edit.of), colour=edit.colour)


def _cut(scene: Scene, board: Board, edit: e.Cut) -> Scene:
    id = target(scene, board, edit.of)
    shown = np.flatnonzero(scene.areas(board)[:, id])
    if not shown.size or not shown[0] < edit.frame <= shown[-1]:
        seen = f"seen in frames {shown[0]} to {shown[-1]}" if shown.size else "never seen"
        raise InputError(f"object {id} is {seen}: there is nothing to cut at frame {edit.frame}")
    scene = _fix(scene, id, changed=True)
    new = _free(_taken(scene.things))
    later = scene.near == id
    later[: edit.frame] = False
    parted = _give(scene, later, new, _part(scene.things[id], new))
    strokes = follow(scene.strokes, board, scene.near, parted.near, {id: new}, edit.frame)
    return replace(parted, strokes=strokes)


def _brush(scene: Scene, board: Board, edit: e.Brush) -> Scene:
    id = target(scene, board, edit.of)
    board.patch_at(edit.frame, 0.0, 0.0)
    stroke = Stroke(edit.frame, id, edit.add, edit.points, edit.radius)
    covered = np.bincount(
        board.of_patch[edit.frame].ravel(),
        stroke.patches(board.height, board.width).ravel(),
        minlength=board.cells,
    )
    count = board.patches[edit.frame]
    taken = (count > 0) & (covered >= _COVERED * count)
    cells = np.zeros(scene.near.shape, bool)
    cells[edit.frame] = taken
    if edit.carry:
        pieces = board.followed(board.piece[edit.frame][taken])
        cells |= np.isin(board.piece, pieces) & (board.patches > 0)
    scene = _fix(scene, id, changed=True)
    others = scene.fixed & (scene.near != id)
    others[edit.frame] = False  # here the person is looking; elsewhere what was fixed stays
    cells &= ~others if edit.add else scene.near == id
    thing = scene.things[id]
    scene = _give(scene, cells, id if edit.add else 0, thing, share=float(edit.add))
    return replace(scene, strokes=(*scene.strokes, stroke))


def _wish(scene: Scene, board: Board, edit: e.Wishes) -> Scene:
    if edit.of is None:
        sliders = scene.sliders.moved(
            edit.objects, edit.granularity, edit.keep_background, edit.min_score
        )
        return _slide(scene, board, sliders)
    id = target(scene, board, edit.of)
    if edit.min_score is not None:
        scene = _firm(scene, id, edit.min_score)
    if edit.granularity is not None:
        scene = _regrain(scene, board, id, edit.granularity)
    return scene


_DO: dict[type, Callable[[Scene, Board, Any], Scene]] = {
    e.Promote: _promote,
    e.Merge: _merge,
    e.Join: _merge,
    e.Split: _split,
    e.Drop: _drop,
    e.Rename: _rename,
    e.Class: _classify,
    e.Colour: _colour,
    e.Cut: _cut,
    e.Brush: _brush,
    e.Wishes: _wish,
}


def _slide(scene: Scene, board: Board, sliders: Sliders) -> Scene:
    """The automatic cut by other wishes, in what no person has fixed."""
    auto = board.automatic(sliders)
    near, share = auto.near[board.group], auto.share[board.group]
    hard = np.where(share > INSIDE, near, 0)
    k = max(auto.scores, default=0) + 1
    mass = np.bincount(hard.ravel(), board.patches.ravel(), minlength=k)
    open_ = ~scene.fixed
    left = np.bincount(hard[open_], board.patches[open_], minlength=k)
    wanted = [id for id in auto.scores if left[id] > _LEFT * mass[id]]
    fixed = {id: thing for id, thing in scene.things.items() if thing.fixed}
    taken = _taken(fixed)
    new_id = np.zeros(k, np.int32)
    things = dict(fixed)
    for old in wanted:
        id = _free(taken | set(wanted)) if old in taken else old
        taken.add(id)
        new_id[old] = id
        changed = bool(left[old] < mass[old])
        things[id] = Thing(root=id, score=None if changed else auto.scores[old])
    near = np.where(open_, new_id[near], scene.near).astype(np.int32)
    share = np.where(open_, np.where(near > 0, share, 0), scene.share).astype(np.float32)
    return replace(scene, near=near, share=share, things=things, sliders=sliders)


def _inherit(
    scene: Scene,
    board: Board,
    pieces: Integer[np.ndarray, "t l"],
    wanted: list[int],
    old: set[int],
    taken: set[int],
) -> dict[int, int]:
    """The id of every wanted piece: that of the old object it overlaps most, or a free one."""
    was = scene.hard()
    k = int(pieces.max()) + 1
    pairs = np.bincount(
        (was.astype(np.int64) * k + pieces).ravel(),
        board.patches.ravel(),
        minlength=k * (int(was.max()) + 1),
    ).reshape(-1, k)
    claims = sorted(
        (-int(pairs[id, piece]), rank, id, piece)
        for rank, piece in enumerate(wanted)
        for id in old
        if id < len(pairs) and pairs[id, piece] > 0
    )
    names: dict[int, int] = {}
    given = set(taken)
    for _, _, id, piece in claims:
        if piece not in names and id not in given:
            names[piece] = id
            given.add(id)
    for piece in wanted:
        if piece not in names:
            names[piece] = _free(given)
            given.add(names[piece])
    return names


def _firm(scene: Scene, id: int, least: float) -> Scene:
    """An object that has the cells of which more than a share was found to be its."""
    scene = _fix(scene, id, changed=True, min_score=least)
    least = min(max(least, 0.01), 0.99)
    return replace(scene, least=np.where(scene.near == id, np.float32(least), scene.least))


def _regrain(scene: Scene, board: Board, id: int, granularity: float) -> Scene:
    """An object, and all that its granularity cut it into before, cut anew by its own subtree."""
    root = scene.things[id].root
    family = {i for i, thing in scene.things.items() if thing.root == root}
    mine = np.isin(scene.near, sorted(family))
    leaf, mass = _leaves(scene, board, mine)
    keep = mass > 0
    pieces = cut_below(board.state.tree, keep, _top(board.state.tree, keep) * (1 - granularity))
    piece = np.where(mine, pieces[leaf], 0)
    size = np.bincount(piece.ravel(), board.patches.ravel())[1:]
    wanted = (np.argsort(-size, kind="stable") + 1).tolist()
    if not wanted:
        raise InputError(f"no frame shows object {id}: there is nothing to cut finer or coarser")
    piece[mine & (piece == 0)] = wanted[0]
    hard = np.where(scene.inside(), piece, 0)
    others = {i: thing for i, thing in scene.things.items() if i not in family}
    names = _inherit(scene, board, hard, wanted, family, _taken(others) | ({root} - family))
    new_id = np.zeros(int(piece.max()) + 1, np.int32)
    things = dict(others)
    for old, new in names.items():
        new_id[old] = new
        known = scene.things[new if new in family else id]
        if new not in family:
            known = replace(known, name="", colour=None)
        things[new] = replace(known, fixed=True, root=root, score=None, granularity=granularity)
    near = np.where(mine, new_id[piece], scene.near).astype(np.int32)
    to = {old: old if old in things else names[wanted[0]] for old in family}
    return replace(
        scene,
        near=near,
        fixed=scene.fixed | mine,
        things=things,
        strokes=follow(scene.strokes, board, scene.near, near, to),
    )


def _leaves(
    scene: Scene, board: Board, cells: Bool[np.ndarray, "t l"]
) -> tuple[Int[np.ndarray, "t l"], Float[np.ndarray, " m"]]:
    """The leaf of the tree that each cell is of, and how many of these cells' patches each has.

    What is only next to an object is of the part that it is next to.
    """
    s, inside = board.state, scene.inside()
    leaf = np.where(s.leaf >= 0, s.leaf, s.ground)[board.group]
    ground = inside & (s.share <= INSIDE)[board.group]
    leaf = np.where(ground, s.ground[board.group], leaf)
    counted = cells & inside
    mass = np.bincount(leaf[counted], board.patches[counted], minlength=len(s.mass))
    return leaf, mass.astype(float)


def _top(tree: np.ndarray, keep: np.ndarray) -> float:
    """The height at which the last two of the kept leaves are joined; 0 for a single one."""
    has, top = np.concatenate((keep, np.zeros(len(tree), bool))), 0.0
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        has[len(keep) + step] = has[a] or has[b]
        if has[a] and has[b]:
            top = float(tree[step, 2])
    return top


def _part(thing: Thing, id: int) -> Thing:
    """What is said of an object that is parted from another."""
    return replace(thing, name="", colour=None, root=id, granularity=0.0)


def _fix(scene: Scene, id: int, changed: bool = False, **said: Any) -> Scene:
    """An object that stays as it is; changed: its score follows from its patches from now on."""
    thing = replace(scene.things[id], fixed=True, **said)
    if changed:
        thing = replace(thing, score=None)
    things = {**scene.things, id: thing}
    return replace(scene, fixed=scene.fixed | (scene.near == id), things=things)


def _give(
    scene: Scene,
    cells: Bool[np.ndarray, "t l"],
    id: int,
    thing: Thing,
    share: float | None = None,
) -> Scene:
    """Cells given to an object, 0 to none; with a share, or with the one they have."""
    near = np.where(cells, id, scene.near).astype(np.int32)
    new = scene.share if share is None else np.where(cells, share, scene.share).astype(np.float32)
    things = {**scene.things, id: thing} if id else scene.things
    return replace(scene, near=near, share=new, fixed=scene.fixed | cells, things=things)


def _taken(things: Mapping[int, Thing]) -> set[int]:
    """Ids that no new object may have."""
    return set(things) | {thing.root for thing in things.values()}


def _free(taken: set[int]) -> int:
    """The smallest id that is not taken."""
    return next(i for i in range(1, len(taken) + 2) if i not in taken)
