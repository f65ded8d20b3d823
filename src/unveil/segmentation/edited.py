"""What was found once the edits of a log are done: a function of state and log alone."""

from pathlib import Path

from unveil.editing.board import Board
from unveil.editing.log import Log, text
from unveil.editing.scene import Scene, play
from unveil.editing.stroke import Painted
from unveil.fast.evidence import Evidence
from unveil.fast.state import State
from unveil.results.coco import About
from unveil.results.writer import EVIDENCE, STATE
from unveil.segmentation.first_pass import Found


def board_of(folder: Path) -> Board:
    """What edits are played on, of a result in a folder. Raises DataError where it is none.

    Results of before there were edits have no evidence: only parting by clicks needs it.
    """
    return Board(State.load(folder / STATE), evidence_of(folder))


def evidence_of(folder: Path) -> Evidence | None:
    """The evidence that lies in a folder of results, None in one of before there was any."""
    path = folder / EVIDENCE
    return Evidence.load(path) if path.exists() else None


def found_in(board: Board, scene: Scene, log: Log) -> Found:
    """A scene as the second pass paints it."""
    objects = scene.objects(board)
    about = {
        id: About(thing.name, thing.class_, thing.colour)
        for id, thing in scene.things.items()
        if thing.name or thing.class_ or thing.colour
    }
    strokes: dict[int, tuple[Painted, ...]] = {}
    for stroke in scene.strokes:
        strokes[stroke.frame] = (*strokes.get(stroke.frame, ()), stroke)
    return Found(
        objects.near,
        objects.scores,
        objects.share,
        board.state,
        board.evidence,
        about,
        strokes,
        text(log) if log.edits else "",
    )


def edited(board: Board, log: Log) -> Found:
    """What was found after a log. Raises InputError for an edit of it that cannot be done."""
    return found_in(board, play(board, log.cut, log.edits), log)
