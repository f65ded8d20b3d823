"""The second pass over a video: what was found, painted at full resolution, and written."""

from collections.abc import Iterator

import numpy as np

from unveil.editing.stroke import draw
from unveil.errors import InputError
from unveil.progress import Progress, silent
from unveil.results.writer import Writer
from unveil.segmentation import refine
from unveil.segmentation.first_pass import Found
from unveil.timing import Clock
from unveil.video.prefetch import ahead, frames_at_once
from unveil.video.source import Video


def paint(
    video: Video, found: Found, chunk: int, clock: Clock, report: Progress = silent
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames [t, H, W, 3] and their labels [t, H, W], at most `chunk` frames at a time.

    What has no shares is upsampled as published. Raises
    InputError where the video has not as many frames as were looked at.
    """
    done, total = 0, len(found.ids)
    chunk = frames_at_once(chunk, video.height, video.width)
    for frames in clock.each("decode", ahead(video.chunks(chunk))):
        t = len(frames)
        ids = found.ids[done : done + t]
        if len(ids) < t:
            raise InputError(f"{video.name} has more than the {total} frames that were looked at")
        with clock("refine"):
            share = None if found.share is None else found.share[done : done + t]
            masks = None if found.masks is None else found.masks[done : done + t]
            labels = refine.labels(ids, share, frames, masks)
            for i in range(t):
                labels[i] = draw(labels[i], found.strokes.get(done + i, ()))
        done += t
        yield frames, labels
        report("writing", done, total)
    if done < total:
        raise InputError(f"{video.name} has {done} frames, not the {total} that were looked at")


def write(
    writer: Writer, video: Video, found: Found, chunk: int, clock: Clock, report: Progress = silent
) -> None:
    """Paint all frames into a Writer, and put the state beside them; finishing is left to do."""
    done = 0
    for frames, labels in paint(video, found, chunk, clock, report):
        names = [video.frame_name(i) for i in range(done, done + len(frames))]
        with clock("write"):
            writer.write(frames, labels, names)
        done += len(frames)
    if found.state is not None:
        with clock("write"):
            writer.keep(found.state, found.evidence, found.edits)
