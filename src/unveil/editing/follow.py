"""What was painted goes along with its objects, where an edit parts them or makes them one.

Painted pixels go where the patches went that they lie on, or are next to.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Integer
from scipy.ndimage import distance_transform_edt

from unveil.editing.board import Board
from unveil.editing.stroke import Change, Grid, Painted


def follow(
    painted: tuple[Painted, ...],
    board: Board,
    before: Integer[np.ndarray, "t l"],
    after: Integer[np.ndarray, "t l"],
    to: Mapping[int, int],
    start: int = 0,
) -> tuple[Painted, ...]:
    """What was painted, and a change at the end for every frame that has strokes of these objects.

    before, after: the object that a cell is of or next to. to: by the id of before, whose its
    pixels are where no patch of it is seen; 0 lets go of them everywhere. start: the first frame
    that the edit is about. Cost: of the frames that were painted in, 1 ms an object.
    """
    frames: dict[int, set[int]] = {}
    for each in painted:
        if each.frame >= start:
            frames.setdefault(each.frame, set()).update(each.ids)
    changes = (
        _change(i, before[i][board.of_patch[i]], after[i][board.of_patch[i]], to)
        for i, ids in frames.items()
        if ids & set(to)
    )
    return (*painted, *changes)


def _change(
    frame: int,
    was: Integer[np.ndarray, "h w"],
    now: Integer[np.ndarray, "h w"],
    to: Mapping[int, int],
) -> Change:
    new = {*to, *np.unique(now[np.isin(was, list(to))]).tolist()} - {0}
    return Change(
        frame,
        {id: _nearest(now, was == id, other) if other else ((0,),) for id, other in to.items()},
        {id: _nearest(was, now == id, 0) for id in sorted(new)},
    )


def _nearest(ids: Integer[np.ndarray, "h w"], mine: Bool[np.ndarray, "h w"], other: int) -> Grid:
    """For every patch the id of the nearest one of some; another where there are none."""
    found = np.unique(ids[mine]).tolist() or [other]
    if len(found) == 1:
        return ((found[0],),)
    rows, columns = distance_transform_edt(~mine, return_distances=False, return_indices=True)
    return tuple(map(tuple, ids[rows, columns].tolist()))
