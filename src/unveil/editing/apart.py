"""An object parted by points on either side, with the evidence between its groups.

Where the points are, a random walker (Grady, "Random Walks for Image Segmentation", TPAMI 2006)
over the contacts of the object's groups tells which points each group is nearer to. From there it
goes on block by block, ahead and back: what touched a side a frame before holds to that side, the
rest is settled between neighbours again. Every block is decided before the next one, so that what
was clicked does not fade with the length of the video.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from unveil.editing.board import Board
from unveil.errors import InputError

_CLICKED = 1e4
"""What a point weighs beside one contact of patches that look the same."""
_LOOKS = 0.005
"""What a patch's likeness to the sides weighs: it decides where nothing else does."""
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

    cells: of the object. sides: for each its points, as frame and cell. Cost: linear in the frames,
    3 ms a block. Raises InputError for points that cannot part it.
    """
    _looks(board)  # says where there are none
    seeds = _seeds(board, cells, sides)
    k = len(sides)
    sides_of: dict[int, set[int]] = {}
    for group, i in seeds.items():
        sides_of.setdefault(board.block_with(group), set()).add(i)
    starts = sorted(block for block, there in sides_of.items() if len(there) == k)
    if not starts:
        raise InputError("click on every side in one frame, then in others where it is needed")
    side = np.full(board.groups, -1)
    looks = _mean_looks(board, seeds, k)
    order = _order(starts, len(board.blocks))
    for block, step in order:
        _settle(board, cells, block, step, side, seeds, looks)
    found = side[board.group]
    return np.where(cells, found, -1)


def _seeds(
    board: Board, cells: np.ndarray, sides: Sequence[Sequence[tuple[int, int]]]
) -> dict[int, int]:
    seeds: dict[int, int] = {}
    for i, points in enumerate(sides):
        for frame, cell in points:
            if not cells[frame, cell]:
                raise InputError(f"frame {frame}: a point lies beside the object; click on it")
            group = int(board.group[frame, cell])
            if seeds.setdefault(group, i) != i:
                raise InputError(
                    f"frame {frame}: two sides were clicked in one small group of patches; click "
                    "further apart"
                )
    return seeds


def _looks(board: Board) -> np.ndarray:
    if board.evidence is None:
        raise InputError("there is no evidence between the groups of this video; segment it again")
    return board.evidence.looks


def _mean_looks(board: Board, seeds: dict[int, int], k: int) -> Float[np.ndarray, "k c"]:
    looks = _looks(board).astype(np.float32)
    return np.stack([looks[[g for g, s in seeds.items() if s == i]].mean(0) for i in range(k)])


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
    cells: np.ndarray,
    block: int,
    step: int,
    side: np.ndarray,
    seeds: dict[int, int],
    mean_looks: np.ndarray,
) -> None:
    """Decide the sides of one block's groups, in place."""
    frames = board.blocks[block]
    span = slice(frames.start, frames.stop)
    groups = np.unique(board.group[span][cells[span] & (board.patches[span] > 0)])
    if len(groups) == 0:
        return
    k = len(mean_looks)
    looks = _looks(board)[groups].astype(np.float32)
    opinion = _LOOKS * _alike(looks, mean_looks) * board.total[groups, None]
    if step:
        opinion += _held(board, cells, block, step, groups, looks, side, k)
    for group, i in seeds.items():
        at = np.searchsorted(groups, group)
        if at < len(groups) and groups[at] == group:
            opinion[at] = 0
            opinion[at, i] = _CLICKED
    patches = board.state.groups[span]
    inside = _inside(board, cells, span)
    contact = np.zeros((len(groups), len(groups)))
    for a, b, both in (
        (patches[:, 1:], patches[:, :-1], inside[:, 1:] & inside[:, :-1]),
        (patches[..., 1:], patches[..., :-1], inside[..., 1:] & inside[..., :-1]),
        (patches[1:], patches[:-1], inside[1:] & inside[:-1]),
    ):
        pair = both & (a != b)
        np.add.at(contact, (np.searchsorted(groups, a[pair]), np.searchsorted(groups, b[pair])), 1)
    contact += contact.T
    contact *= np.exp(-_SHARP * np.square(looks[:, None] - looks).sum(2))
    system = np.diag(contact.sum(1) + opinion.sum(1) + 1e-9) - contact
    side[groups] = np.linalg.solve(system, opinion).argmax(1)


def _alike(looks: np.ndarray, means: np.ndarray) -> np.ndarray:
    """How likely each side is by looks alone, rows sum to 1."""
    d = np.square(looks[:, None] - means).sum(2)
    w = np.exp(-(d - d.min(1, keepdims=True)))
    return w / w.sum(1, keepdims=True)


def _held(
    board: Board,
    cells: np.ndarray,
    block: int,
    step: int,
    groups: np.ndarray,
    looks: np.ndarray,
    side: np.ndarray,
    k: int,
) -> np.ndarray:
    """What the last frame that was decided says of groups in the frame beside it: [n, K].

    Where the object was not seen there, the frames before it are asked, for as long as it may have
    been hidden; place says less then, and only the looks of what was there count.
    """
    out = np.zeros((len(groups), k))
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
        before, now = board.state.groups[there], board.state.groups[edge]
        h, w = now.shape
        steps = range(-_NEAR, _NEAR + 1)
        for dy in steps:
            for dx in steps:
                a = (slice(max(dy, 0), h + min(dy, 0)), slice(max(dx, 0), w + min(dx, 0)))
                b = (slice(max(-dy, 0), h + min(-dy, 0)), slice(max(-dx, 0), w + min(-dx, 0)))
                both = here[a] & inside[b]
                at, was = np.searchsorted(groups, now[a][both]), before[b][both]
                known = side[was] >= 0
                at, was = at[known], was[known]
                theirs = _looks(board)[was].astype(np.float32)
                weight = np.exp(-_SHARP * np.square(looks[at] - theirs).sum(1))
                np.add.at(out, (at, side[was]), weight / (1 + abs(dy) + abs(dx)))
        return out
    return out


def _inside(board: Board, cells: np.ndarray, span: slice) -> np.ndarray:
    """Which patches of some frames are of the object's cells."""
    frames = np.arange(span.start, span.stop)[:, None, None]
    return cells[frames, board.of_patch[span]]
