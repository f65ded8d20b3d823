"""Other objects from the same merge tree: no model is loaded, no feature computed again.

    recut("out/dog", objects=3)                  # the folder of a result, replaced
    segmentation.recut(granularity=0.5)          # what is in memory

The cut itself takes milliseconds; painting the frames anew takes what painting takes.
"""

import json
from pathlib import Path
from typing import Any

from unveil.errors import DataError, InputError
from unveil.fast.state import State
from unveil.progress import Progress, silent
from unveil.results.folder import RUN
from unveil.results.writer import STATE, Writer
from unveil.segmentation.first_pass import cut
from unveil.segmentation.second_pass import write
from unveil.settings import cut_wishes
from unveil.timing import Clock, peak_memory_mb
from unveil.video.source import Video, open_video


def recut(
    folder: str | Path,
    *,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    out: str | Path | None = None,
    source: str | Path | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Cut the result of a video anew; returns what the new `run.json` says.

    Args:
        folder: a result of `unveil segment` in fast mode.
        objects, granularity, keep_background: as in `unveil.settings.Settings`.
        out: where the new result goes; in the place of the old one by default.
        source: the video, where it is no longer where it was.

    Raises:
        DataError: the folder is no such result.
        InputError: the video is gone or is another one, or the wishes contradict.
        OutputError: `out` cannot be written.
    """
    wishes = cut_wishes(objects, granularity, keep_background)
    folder, clock = Path(folder), Clock()
    run = _read(folder)
    with clock("cut"):
        found = cut(State.load(folder / STATE), **wishes)
    video = _open(folder, run["video"], source)
    if source is not None:
        run["video"]["source"] = str(Path(source).expanduser().absolute())
    chunk = run["settings"]["chunk"]
    shape = {"height": video.height, "width": video.width}
    with Writer(out or folder, name=video.name, fps=video.fps, **shape) as writer:
        write(writer, video, found, chunk, clock, on_progress or silent)
        run = {
            **run,
            "settings": {**run["settings"], **wishes},
            "objects": len(found.scores),
            "recut": True,
            "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
            "peak_memory_mb": peak_memory_mb(),
        }
        writer.finish(found.scores, run)
    return run


def _read(folder: Path) -> dict[str, Any]:
    """What run.json says, with at least what a new cut needs."""
    path = folder / RUN
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        run["settings"]["chunk"], run["video"]["source"]
    except FileNotFoundError:
        raise DataError(f"no result of Unveil at {folder}: there is no {RUN} in it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not say what a new cut needs ({error}); segment the video again"
        ) from error
    return run


def _open(folder: Path, about: dict[str, Any], source: str | Path | None) -> Video:
    """The video that a result is of."""
    if source is None and about["source"] is None:
        raise InputError(
            f"{folder} was made of frames in memory: give a video of them with --source"
        )
    span = {name: about.get(name) for name in ("start", "end")}
    try:
        video = open_video(source or about["source"], stride=about.get("stride", 1), **span)
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
