"""Where a video may be cut into stretches that are read side by side, by the times of its frames.

for stretch in cut("long.mp4", 4, multiple=8, lead=8):
    open_video("long.mp4", **stretch.span)     # its frames, after `stretch.lead` before them
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from unveil.errors import InputError
from unveil.video.source import Source, open_video


@dataclass(frozen=True)
class Stretch:
    """A part of a video. first: its first frame. frames: how many. lead: how many before it too."""

    first: int
    frames: int
    lead: int
    span: dict[str, Any]
    """What `open_video` takes beside the source, to read the lead and the frames."""


def cut(
    source: Source,
    count: int,
    *,
    multiple: int = 1,
    lead: int = 0,
    start: float | None = None,
    end: float | None = None,
    stride: int = 1,
) -> list[Stretch]:
    """So many stretches of about one length, or fewer of a short video, each frame in one of them.

    multiple: frames of all but the last are a multiple of this. lead: frames that all but the first
    have before them. Ends lie half way between the times of two frames, so that a variable rate
    and rounded times do no harm. Raises InputError where a file does not tell its times.
    """
    video = open_video(source, start=start, end=end, stride=stride)
    times = video.times()
    if not times:
        raise InputError(
            f"{video.name} does not tell when its frames are shown, or its clock goes back: it "
            "cannot be cut into stretches; leave out --jobs"
        )
    frames = -(-len(times) // stride)
    between = {round(i * frames / count / multiple) * multiple for i in range(1, count)}
    bounds = [0, *sorted(b for b in between if 0 < b < frames), frames]

    def before(frame: int) -> float:
        """A moment between a frame and the one before it."""
        i = frame * stride
        return (times[i - 1] + times[i]) / 2

    found = []
    for first, stop in pairwise(bounds):
        ahead = min(lead, first)
        span = {
            "start": before(first - ahead) if first > ahead else start,
            "end": before(stop) if stop < frames else end,
            "stride": stride,
        }
        found.append(Stretch(first, stop - first, ahead, span))
    return found
