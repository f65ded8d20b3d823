"""Shares of pixels for exports with soft edges, computed anew from what a result keeps."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from unveil.address import as_path
from unveil.editing.log import read
from unveil.errors import DataError
from unveil.exports.result import Result, Shares
from unveil.fast.state import State
from unveil.results.folder import EDITS
from unveil.results.writer import STATE
from unveil.segmentation.edited import board_of, edited
from unveil.segmentation.first_pass import Found, cut
from unveil.segmentation.recut import cut_of, read_run
from unveil.segmentation.refine import shares

log = logging.getLogger(__name__)


def with_soft_edges(result: Result, folder: str | Path) -> Result:
    """The result of a folder with the shares that its masks were cut from.

    A folder that keeps no state (the published method, masks of others) gives the result as it is.
    """
    folder = as_path(folder)
    if not (folder / STATE).is_file():
        return result
    try:
        run = read_run(folder)
        done = read(folder / EDITS, cut_of(run))
        if done.edits:
            found = edited(board_of(folder), done)
        else:
            found = cut(State.load(folder / STATE), **cut_of(run))
    except DataError as error:
        log.warning("edges are softened by the colours alone: %s", error)
        return result
    return replace(result, shares=shares_of(found))


def shares_of(found: Found) -> Callable[[int, np.ndarray], Shares] | None:
    """Of a frame, by its number and its picture, how much of every pixel is each object's."""
    near, share = found.ids, found.share
    if share is None:
        return None
    return lambda index, frame: shares(near[index], share[index], frame)
