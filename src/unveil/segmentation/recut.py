"""Other objects from the same merge tree: no model is loaded, no feature computed again.

    recut("out/dog", objects=3)                  # the folder of a result, replaced
    segmentation.recut(granularity=0.5)          # what is in memory

The cut itself takes milliseconds; painting the frames anew takes what painting takes. What a person
did to the result (`edits.jsonl`) is done again, and stands above the new wishes.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from unveil.address import as_path
from unveil.editing.edits import Wishes, standing
from unveil.editing.log import Log, digest, read
from unveil.errors import DataError, InputError
from unveil.fast.state import State
from unveil.progress import Progress, silent
from unveil.results.folder import EDITS, RUN
from unveil.results.writer import STATE, Writer
from unveil.segmentation.edited import board_of, edited, evidence_of
from unveil.segmentation.first_pass import Found, cut
from unveil.segmentation.second_pass import write
from unveil.settings import cut_wishes
from unveil.timing import Clock, peak_memory_mb
from unveil.video.source import Video, open_video, span_of

logger = logging.getLogger(__name__)


def recut(
    folder: str | Path,
    *,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    min_score: float | None = None,
    out: str | Path | None = None,
    source: str | Path | None = None,
    edits: str | Path | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Cut the result of a video anew; returns what the new `run.json` says.

    Args:
        folder: a result of `unveil segment` in fast mode.
        objects, granularity, keep_background, min_score: as in `unveil.settings.Settings`.
        out: where the new result goes; in the place of the old one by default.
        source: the video, where it is no longer where it was.
        edits: a log of edits to do instead of the folder's own.

    Raises:
        DataError: the folder is no such result, or the log of edits none.
        InputError: the video is gone or is another one, the wishes contradict, or an edit cannot be
            done.
        OutputError: `out` cannot be written.
    """
    wishes = cut_wishes(objects, granularity, keep_background, min_score)
    folder, clock = Path(folder), Clock()
    run = read_run(folder)
    log = _log(folder, run, wishes, edits)
    with clock("cut"):
        if log.edits:
            board = board_of(folder)
            found = edited(board, log)
        else:
            found = cut(State.load(folder / STATE), **wishes)
            found = replace(found, evidence=evidence_of(folder))
    video = open_again(folder, run["video"], source)
    if source is not None:
        run["video"]["source"] = str(as_path(source).absolute())
    out = Path(out or folder)
    return write_anew(out, video, found, run, wishes, log, clock, on_progress, out == folder)


def write_anew(
    out: Path,
    video: Video,
    found: Found,
    run: dict[str, Any],
    wishes: dict[str, Any],
    log: Log,
    clock: Clock,
    on_progress: Progress | None = None,
    carried: bool = False,
) -> dict[str, Any]:
    """Write what was found to a folder of results; returns what its `run.json` says.

    run: what the `run.json` of before says. wishes: of the cut. carried: the edits of a result in
    `out` are among those of the log.
    """
    with Writer(
        out,
        name=video.name,
        fps=video.fps,
        height=video.height,
        width=video.width,
        about=found.about,
        edited=carried,
    ) as writer:
        write(writer, video, found, run["settings"]["chunk"], clock, on_progress or silent)
        with clock("write"):
            objects = len(writer.painted())
        run = {
            **run,
            "settings": {**run["settings"], **(log.cut if log.edits else wishes)},
            "objects": objects,
            "recut": True,
            "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
            "peak_memory_mb": peak_memory_mb(),
        }
        for said in ("edits", "edits_sha256"):
            run.pop(said, None)
        if log.edits:
            run |= {"edits": len(standing(log.edits)[0]), "edits_sha256": digest(log)}
        writer.finish(found.scores, run)
    return run


def _log(
    folder: Path, run: dict[str, Any], wishes: dict[str, Any], edits: str | Path | None
) -> Log:
    """The log that holds for a new cut, the new wishes at its end."""
    if edits is not None and not Path(edits).is_file():
        raise DataError(f"no log of edits at {edits}")
    log = read(Path(edits or folder / EDITS), cut_of(run))
    if log.dropped:
        logger.warning("%s ends in half a line, which is left out", edits or folder / EDITS)
    asked = {k: v for k, v in wishes.items() if v is not None and v is not False}
    if log.edits and asked:
        log = replace(log, edits=(*log.edits, Wishes(**asked)))
    return log


def cut_of(run: dict[str, Any]) -> dict[str, Any]:
    """The wishes by which a result was cut."""
    said = run["settings"]
    return cut_wishes(
        said.get("objects"),
        said.get("granularity"),
        bool(said.get("keep_background")),
        said.get("min_score"),
    )


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json says, with at least what a new cut needs."""
    path = folder / RUN
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if "imported" in run:
            raise DataError(
                f"{folder} was imported from {run['imported']['from']}: it has masks and no merge "
                "tree, so it cannot be cut or corrected here; 'unveil view' shows it, export or "
                "score it"
            )
        run["settings"]["chunk"], run["video"]["source"]
    except FileNotFoundError:
        raise DataError(f"no result of Unveil at {folder}: there is no {RUN} in it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not say what a new cut needs ({error}); segment the video again"
        ) from error
    return run


def open_again(folder: Path, about: dict[str, Any], source: str | Path | None) -> Video:
    """The video that a result is of."""
    if source is None and about["source"] is None:
        raise InputError(
            f"{folder} was made of frames in memory: give a video of them with --source"
        )
    place = source or about["source"]
    try:
        video = open_video(place, **span_of(place, about))
    except InputError as error:
        if source is not None:
            raise
        raise InputError(
            f"the video of {folder} cannot be read: {error}; say where it is with --source"
        ) from error
    size, was = (video.height, video.width), (about["height"], about["width"])
    if size != was:
        raise InputError(
            f"{video.name} is {size[1]}x{size[0]}, the video of {folder} was {was[1]}x{was[0]}: "
            "give the same video with --source"
        )
    return video
