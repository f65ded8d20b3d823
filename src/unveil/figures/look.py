"""What one patch attends to, over frames of a video: in the backbone, in blocks.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from unveil.attention.block import Block, random_block
from unveil.attention.maps import attention_of
from unveil.errors import InputError
from unveil.features.backbone import Backbone, Size
from unveil.progress import Progress, silent
from unveil.settings import SIZE
from unveil.types import Features
from unveil.video.source import Video

_SIDE = 480  # px, longest side of the frames that are kept to be shown
_SLACK = 1e-6  # frames; a time that was rounded to print it still means its frame


@dataclass(frozen=True)
class Moments:
    """Which frames are looked at.

    indices: of the frames, rising. pressed: place in `indices` of the one with the patch.
    seconds: when each is shown, from the source's first frame. count: frames there are to choose.
    """

    indices: tuple[int, ...]
    pressed: int
    seconds: tuple[float, ...]
    count: int


@dataclass(frozen=True)
class Panel:
    """One way of attending. maps: over all frames. heads: those of each head, if it has any."""

    name: str
    title: str
    maps: Float[np.ndarray, "t h w"]
    heads: tuple[Float[np.ndarray, "t h w"], ...] = ()


@dataclass(frozen=True)
class Look:
    """All that a figure shows.

    frames: [T, H, W, 3], small copies. at: place of the pressed frame among them, row and column of
    its patch. rate: frames a second that play them as fast as the video.
    """

    name: str
    frames: UInt8[np.ndarray, "t H W 3"]
    seconds: tuple[float, ...]
    at: tuple[int, int, int]
    rate: Fraction
    panels: tuple[Panel, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        _, h, w = self.panels[0].maps.shape
        return h, w


def moments(
    video: Video, seconds: float | None, frames: int, start: float | None = None
) -> Moments:
    """The frame that is shown at a time, among others spread over a video.

    seconds: from the source's first frame; the video's first frame by default. frames: how many,
    at most. start: where the video was opened at. The video is read once to its end, for nothing
    else knows where that is. Raises InputError for a time that the video does not reach.
    """
    if frames < 1:
        raise InputError(f"frames: expected at least 1, got {frames}")
    fps = video.fps
    first = math.ceil((start or 0) * fps - _SLACK)
    count = sum(1 for _ in video)
    pressed = 0 if seconds is None else math.floor(seconds * fps + _SLACK) - first
    if not 0 <= pressed < count:
        begin, end = float(first / fps), float((first + count) / fps)
        raise InputError(
            f"no frame at {seconds:g} s: what is looked at of {video.name} runs from {begin:.2f} s "
            f"to {end:.2f} s"
        )
    indices = spread(count, frames, pressed)
    times = tuple(float((first + i) / fps) for i in indices)
    return Moments(indices, indices.index(pressed), times, count)


def spread(count: int, wanted: int, kept: int) -> tuple[int, ...]:
    """So many of `count` frames at most, evenly from first to last; `kept` is one of them."""
    chosen = np.linspace(0, count - 1, min(wanted, count)).round().astype(int)
    chosen[np.abs(chosen - kept).argmin()] = kept
    return tuple(chosen.tolist())


def check_point(video: Video, point: tuple[float, float]) -> None:
    """Raise InputError for a point (x, y) in px that lies outside the frames of a video."""
    x, y = point
    if not (0 <= x < video.width and 0 <= y < video.height):
        raise InputError(
            f"the point {x:g},{y:g} lies outside the frame of {video.width}x{video.height} px: "
            f"x is at least 0 and less than {video.width}, y less than {video.height}"
        )


def look(
    video: Video,
    point: tuple[float, float],
    when: Moments,
    backbone: Backbone,
    block: Block,
    size: Size = SIZE,
    report: Progress = silent,
) -> Look:
    """What the patch under a point attends to, over chosen frames.

    point: x and y in px of the video. block: the trained one. Frames go through the backbone one
    at a time; what is kept is their keys and small copies.
    """
    check_point(video, point)
    h, w = backbone.grid(video.height, video.width, size)
    x, y = int(point[0] * w / video.width), int(point[1] * h / video.height)
    wanted, parts, small = set(when.indices), [], []
    report("backbone", 0, len(wanted))
    for i, frame in enumerate(video):
        if i in wanted:
            parts.append(backbone.encode(frame[None], size))
            small.append(_small(frame))
            report("backbone", len(parts), len(wanted))
        if len(parts) == len(wanted):
            break
    at = (when.pressed, y, x)
    keys = torch.cat([part.keys for part in parts]).float()
    saliency = [part.saliency for part in parts if part.saliency is not None]
    features = Features(keys, backbone.patch, torch.cat(saliency).float())
    rate = video.fps * len(wanted) / when.count
    panels = panels_of(features, at, block)
    return Look(video.name, np.stack(small), when.seconds, at, rate, panels)


def panels_of(features: Features, at: tuple[int, int, int], block: Block) -> tuple[Panel, ...]:
    """The ways of attending that are set side by side, for one patch.

    The untrained block is as the trained one was made before its first step, from seed 0. The
    class token's attention is of each frame by itself and asks for no patch.
    """
    untrained = random_block(block.channels, block.heads, centred=block.centred).eval()
    class_token = () if features.saliency is None else (_panel_of_class(features.saliency),)
    return (
        Panel("cosine", "backbone, cosine of keys", _plain(attention_of(features, at))),
        *class_token,
        _panel_of_block("untrained", "block, untrained", features, at, untrained),
        _panel_of_block("trained", "block, trained", features, at, block),
    )


def _panel_of_class(saliency: Float[torch.Tensor, "t h w"]) -> Panel:
    return Panel("class", "backbone, class token", _plain(saliency))


def _panel_of_block(
    name: str, title: str, features: Features, at: tuple[int, int, int], block: Block
) -> Panel:
    heads = tuple(_plain(attention_of(features, at, block, i)) for i in range(block.heads))
    return Panel(name, title, _plain(attention_of(features, at, block)), heads)


def _plain(maps: Float[torch.Tensor, "t h w"]) -> Float[np.ndarray, "t h w"]:
    return maps.float().cpu().numpy()


def _small(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H1 W1 3"]:
    picture = Image.fromarray(frame)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)
