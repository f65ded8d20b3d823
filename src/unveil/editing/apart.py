"""An object parted by points on either side, with the evidence between its groups.

Where the points are, every piece of a group goes to the points it is nearest to by way of the
object: a step from piece to piece is longer the less alike they look. From there it goes on block
by block, ahead and back: a piece holds to the side whose patches lay there a frame before and
looked like it, and what has no such past goes to the nearest piece that has. Every block is decided
before the next one, so that what was clicked does not fade with the length of the video.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, Integer
from scipy.sparse.csgraph import dijkstra

from unveil.editing.board import Board
from unveil.errors import InputError

_UNLIKE = 2.0
"""Patches by which a step is longer to a group whose likeness is e times less …"""
_STRANGE = 3.0
"""… and so many times e less than which no more is lost."""
_FLIPPED = 2.0
"""Patches around a point that go over to its side, whatever they were before."""
_SHARP = 3.0
"""How much more than elsewhere unlike looks count: what is parted here looked alike enough to be
one object."""
_NEAR = 2  # patches that things may move between frames
_BACK = 8  # decided blocks that may lie between two sights of an object


def apart(
    board: Board,
    cells: Bool[np.ndarray, "t l"],
    sides: Sequence[Sequence[tuple[int, int]]],
) -> Integer[np.ndarray, "t l"]:
    """The side 0, 1, … of every cell of an object; -1 of all others.

    cells: of the object. sides: for each its points, as frame and cell of it. Cost: linear in the
    frames, 3 ms a block. Raises InputError for points that cannot part it.
    """
    _looks(board)  # says where there are none
    seeds = _seeds(board, sides)
    k = len(sides)
    sides_of: dict[int, set[int]] = {}
    for piece, i in seeds.items():
        sides_of.setdefault(board.block_with(piece), set()).add(i)
    starts = sorted(block for block, there in sides_of.items() if len(there) == k)
    if not starts:
        raise InputError("click on every side in one frame, then in others where it is needed")
    side = np.full(len(board.group_of), -1)
    for block, step in _order(starts, len(board.blocks)):
        _settle(board, cells, block, step, side, seeds, k)
    found = side[board.piece]
    return np.where(cells, found, -1)


def _seeds(board: Board, sides: Sequence[Sequence[tuple[int, int]]]) -> dict[int, int]:
    seeds: dict[int, int] = {}
    for i, points in enumerate(sides):
        for frame, cell in points:
            piece = int(board.piece[frame, cell])
            if seeds.setdefault(piece, i) != i:
                raise InputError(
                    f"frame {frame}: two sides were clicked in one small group of patches; click "
                    "further apart"
                )
    return seeds


def _looks(board: Board) -> Float[np.ndarray, "g c"]:
    """What the groups look like. Raises InputError where it was not kept."""
    if board.evidence is None:
        raise InputError("there is no evidence between the groups of this video; segment it again")
    return board.evidence.looks


def _order(starts: list[int], blocks: int) -> list[tuple[int, int]]:
    """Blocks in the order in which they are settled, with where each looks: -1 back, 1 ahead.

    Each start goes as far as it is the nearest one.
    """
    nearest = np.abs(np.arange(blocks)[:, None] - np.array(starts)).argmin(1)
    order = []
    for i, start in enumerate(starts):
        order.append((start, 0))
        mine = np.flatnonzero(nearest == i)
        order += [(b, -1) for b in range(start + 1, mine.max() + 1)]
        order += [(b, 1) for b in range(start - 1, mine.min() - 1, -1)]
    return order


def _settle(
    board: Board,
    cells: Bool[np.ndarray, "t l"],
    block: int,
    step: int,
    side: Int[np.ndarray, " g"],
    seeds: dict[int, int],
    k: int,
) -> None:
    """Decide the sides of one block's pieces, in place."""
    frames = board.blocks[block]
    span = slice(frames.start, frames.stop)
    pieces = np.unique(board.piece[span][cells[span] & (board.patches[span] > 0)])
    if len(pieces) == 0:
        return
    looks = _looks(board)[board.group_of[pieces]].astype(np.float32)
    # What a side is reached from, and at which cost: rows are pieces, columns are sides.
    cost = np.full((len(pieces), k), np.inf)
    if step:
        held = _held(board, cells, block, step, pieces, looks, side, k)
        sure = np.flatnonzero(held.any(1))
        cost[sure, held[sure].argmax(1)] = _FLIPPED
    for piece, i in seeds.items():
        at = int(np.searchsorted(pieces, piece))
        if at < len(pieces) and pieces[at] == piece:
            cost[at] = np.inf
            cost[at, i] = 0.0
    reached = _reach(cost, _steps(board, cells, span, pieces, looks))
    alone = ~np.isfinite(reached).any(1)  # of no contact: nearest in the frame
    if alone.any() and not alone.all():
        where = _places(board, span, pieces)
        apart_ = np.abs(where[alone][:, None] - where[~alone]).sum(2)
        reached[alone] = reached[~alone][apart_.argmin(1)]
    if not alone.all():
        side[pieces] = reached.argmin(1)


def _steps(
    board: Board,
    cells: Bool[np.ndarray, "t l"],
    span: slice,
    pieces: Int[np.ndarray, " n"],
    looks: Float[np.ndarray, "n c"],
) -> sp.csr_array:
    """The lengths of steps between pieces of a block that touch, in patches: [n, n]."""
    patches, inside = board.pieces[span], _inside(board, cells, span)
    n = len(pieces)
    touching = np.zeros((n, n), bool)
    for a, b, both in (
        (patches[:, 1:], patches[:, :-1], inside[:, 1:] & inside[:, :-1]),
        (patches[..., 1:], patches[..., :-1], inside[..., 1:] & inside[..., :-1]),
        (patches[1:], patches[:-1], inside[1:] & inside[:-1]),
    ):
        pair = both & (a != b)
        touching[np.searchsorted(pieces, a[pair]), np.searchsorted(pieces, b[pair])] = True
    a, b = np.nonzero(touching | touching.T)
    where = _places(board, span, pieces)
    far = np.sqrt(np.square(where[a] - where[b]).sum(1)) + 1e-3
    unlike = np.square(looks[a] - looks[b]).sum(1)
    length = far + _UNLIKE * np.minimum(unlike, _STRANGE)
    return sp.coo_array((length, (a, b)), shape=(n, n)).tocsr()


def _places(board: Board, span: slice, pieces: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Row and column of the middle of every piece, in patches."""
    patches = board.pieces[span]
    at = np.searchsorted(pieces, patches).clip(max=len(pieces) - 1)
    mine = pieces[at] == patches
    _, rows, columns = np.nonzero(mine)
    of = at[mine]
    count = np.maximum(np.bincount(of, minlength=len(pieces)), 1)
    sums = [np.bincount(of, x, minlength=len(pieces)) for x in (rows, columns)]
    return np.stack(sums, 1) / count[:, None]


def _reach(cost: Float[np.ndarray, "n k"], steps: sp.csr_array) -> Float[np.ndarray, "n k"]:
    """The shortest way to every piece from those where a side begins, at what it costs there."""
    n, k = cost.shape
    out = np.full((n, k), np.inf)
    for i in range(k):
        begins = np.flatnonzero(np.isfinite(cost[:, i]))
        if len(begins) == 0:
            continue
        first = sp.coo_array(
            (cost[begins, i] + 1e-9, (np.zeros(len(begins), int), begins + 1)), (n + 1, n + 1)
        )
        graph = (sp.block_diag([sp.coo_array((1, 1)), steps]) + first).tocsr()
        out[:, i] = dijkstra(graph, indices=0)[1:]
    return out


def _held(
    board: Board,
    cells: np.ndarray,
    block: int,
    step: int,
    pieces: np.ndarray,
    looks: np.ndarray,
    side: np.ndarray,
    k: int,
) -> np.ndarray:
    """What the last frame that was decided says of pieces in the frame beside it: [n, K].

    Where the object was not seen there, the frames before it are asked, for as long as it may have
    been hidden; place says less then, and only the looks of what was there count.
    """
    out = np.zeros((len(pieces), k))
    edge = board.blocks[block].start if step < 0 else board.blocks[block].stop - 1
    for back in range(1, _BACK + 1):
        other = block + step * back
        if not 0 <= other < len(board.blocks):
            return out
        there = board.blocks[other].stop - 1 if step < 0 else board.blocks[other].start
        inside = _inside(board, cells, slice(there, there + 1))[0]
        if not inside.any():
            continue
        here = _inside(board, cells, slice(edge, edge + 1))[0]
        before, now = board.pieces[there], board.pieces[edge]
        h, w = now.shape
        steps = range(-_NEAR, _NEAR + 1)
        for dy in steps:
            for dx in steps:
                a = (slice(max(dy, 0), h + min(dy, 0)), slice(max(dx, 0), w + min(dx, 0)))
                b = (slice(max(-dy, 0), h + min(-dy, 0)), slice(max(-dx, 0), w + min(-dx, 0)))
                both = here[a] & inside[b]
                at, was = np.searchsorted(pieces, now[a][both]), before[b][both]
                known = side[was] >= 0
                at, was = at[known], was[known]
                theirs = _looks(board)[board.group_of[was]].astype(np.float32)
                weight = np.exp(-_SHARP * np.square(looks[at] - theirs).sum(1))
                np.add.at(out, (at, side[was]), weight / (1 + abs(dy) + abs(dx)))
        return out
    return out


def _inside(board: Board, cells: np.ndarray, span: slice) -> np.ndarray:
    """Which patches of some frames are of the object's cells."""
    frames = np.arange(span.start, span.stop)[:, None, None]
    return cells[frames, board.of_patch[span]]
