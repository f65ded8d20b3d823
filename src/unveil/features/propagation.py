"""Features of every frame from those of key frames: what `--speed balanced` and `fast` save.

    encoder = Propagation(backbone, size, pace=3)
    for frames, features in encoder.each(chunks): ...

The backbone sees key frames only. A frame between two of them takes the keys of both, along dense
inverse search flow (Kroeger et al., arXiv 1603.03590), as in "Deep Feature Flow" (Zhu et al., arXiv
1611.07715), searched from each frame to the one beside it, and so on to the key frame; whichever of
the two is nearer and explains a patch better counts more there.
Everything after the features sees every frame.

Key frames chosen by the size of the flow, or by what it leaves unexplained, carried no better than
as many evenly spaced ones (nine sequences of both development sets, 21 frames of each).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.errors import InputError
from unveil.features.backbone import Backbone, Size
from unveil.settings import SIZE
from unveil.types import Features

FINER = 4
"""Samples of flow a patch along each side."""
NOISE = 2.0
"""Mean difference in brightness, of 255, that tells nothing about how well a patch is carried."""
_LEAST = 8  # samples along a side that the search takes
_OF = 8  # frames among which key frames are counted, those of a block of groups
_SEARCHING = Lock()
Seen = list[tuple[UInt8[np.ndarray, "s H W 3"], Features]]
_Filled = Callable[[], tuple[np.ndarray, Features]]
"""Frames of which the backbone has seen what it is to see, to be filled in, in their order."""


PACES: Mapping[str, int] = MappingProxyType({"exact": 8, "balanced": 3, "fast": 1})
"""Key frames among eight frames, of each `--speed`; docs/speed.md has what each costs."""


def check_speed(speed: str) -> None:
    """Raise InputError where the extra is missing that a speed needs."""
    if PACES[speed] < _OF:
        _Flow(speed)


@dataclass(frozen=True)
class _Way:
    """Where the patches of a frame lie in another one.

    flow: [2, h, w], right and down, in patches. error: [h, w], mean difference in brightness
    between a patch and what lies there. samples: the flow of every sample, right and down, in
    samples.
    """

    flow: Float[Tensor, "2 h w"]
    error: Float[Tensor, "h w"]
    samples: Float[np.ndarray, "H1 W1 2"] | None = None

    def taken(self, away: int) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The patches of a frame so many frames away that each patch takes, and how much of each.

        The four around a place, linearly in between; what lies outside is the border's. How well a
        patch is explained tells more than how far away it is.
        """
        h, w = self.error.shape
        near = 1 / (away**0.5 * (self.error.reshape(-1, 1) + NOISE))
        x = (torch.arange(w) + self.flow[0]).clamp(0, w - 1)
        y = (torch.arange(h)[:, None] + self.flow[1]).clamp(0, h - 1)
        left, above = x.long(), y.long()
        right, below = (left + 1).clamp_max(w - 1), (above + 1).clamp_max(h - 1)
        x, y = x - left, y - above
        at = above * w + left, above * w + right, below * w + left, below * w + right
        shares = (1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x
        places, weights = (torch.stack(part, -1).flatten(0, 1) for part in (at, shares))
        return places, weights * near


_Over = tuple[np.ndarray, _Way]
"""A small grey picture on the way to another one, and the rest of the way."""


def _shrink(pixels: UInt8[np.ndarray, "H W 3"], h: int, w: int) -> UInt8[np.ndarray, "H1 W1"]:
    """A frame as the small grey picture that ways are found in."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    size = (max(h * FINER, _LEAST), max(w * FINER, _LEAST))
    small = F.interpolate(image, size, mode="bilinear", antialias=True)
    return small[0].float().mean(0).round().byte().numpy()


class _Flow:
    """Dense inverse search between small grey pictures; 2 ms a pair at 96x168."""

    def __init__(self, speed: str = "fast") -> None:
        try:
            self._cv2: Any = import_module("cv2")
        except ImportError as error:
            raise InputError(
                f"speed {speed} needs OpenCV: pip install 'unveil[fast]', or choose speed exact"
            ) from error
        self._search = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(
        self, a: np.ndarray, b: np.ndarray, h: int, w: int, over: _Over | None = None
    ) -> _Way:
        """Where h x w patches of a lie in b.

        over: of neighbouring frames one after the other the search finds what moves too far for it
        from a to b.
        """
        nearest, rest = over or (b, None)
        with self._alone():
            flow = self._search.calc(a, nearest, None)
            if rest is not None:
                flow = flow + self._moved(rest.samples, flow)
            there = self._moved(b, flow)
        wrong = torch.from_numpy(np.abs(a.astype(np.float32) - there))[None]
        error = F.adaptive_avg_pool2d(wrong, (h, w))[0]
        patches = F.adaptive_avg_pool2d(torch.from_numpy(flow).permute(2, 0, 1), (h, w))
        height, width = a.shape
        in_patches = patches * torch.tensor((w / width, h / height))[:, None, None]
        return _Way(in_patches, error, flow)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """OpenCV in one thread: for pictures so small others only wait, at the cost of a core.

        How many it has is the process's, and the search holds what it works on: one at a time.
        """
        with _SEARCHING:
            threads = self._cv2.getNumThreads()
            self._cv2.setNumThreads(1)
            try:
                yield
            finally:
                self._cv2.setNumThreads(threads)

    def _moved(self, picture: np.ndarray | None, flow: np.ndarray) -> np.ndarray:
        """What lies in a picture where flow leads to, linearly in between."""
        y, x = _grid(*flow.shape[:2])
        across, down = x + flow[..., 0], y + flow[..., 1]
        linear, border = self._cv2.INTER_LINEAR, self._cv2.BORDER_REPLICATE
        found: np.ndarray = self._cv2.remap(picture, across, down, linear, borderMode=border)
        return found


@lru_cache(4)
def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every sample."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x


@dataclass(frozen=True)
class _Key:
    """What a key frame hands on: keys, saliency and what else there is [h, w, c] in fp32, and its
    small picture.
    """

    values: Tensor
    small: np.ndarray


@dataclass(frozen=True)
class _Frame:
    """A frame that waits. back: the way to the key frame before it; None for key frames."""

    pixels: np.ndarray
    small: np.ndarray
    back: _Way | None


@dataclass
class Propagation:
    """Takes the frames of a video chunk by chunk, and gives the features of all of them, in order.

    Key frames are the first, `pace` of each eight, evenly (2, 5, 7, 10, … at 3; 7, 15, … at 1) and
    the last, whatever the chunks: none waits at the end of a block of eight. objects: what makes
    `Features.objects` of keys [t, h, w, c]; it is asked for key frames, and its answers are carried
    as their keys are. Raises InputError where some are no key frames and OpenCV is not there.
    """

    backbone: Backbone
    size: Size = SIZE
    pace: int = _OF
    objects: Callable[[Tensor], Tensor] | None = None
    _seen: int = 0
    _waiting: list[_Frame] = field(default_factory=list, repr=False)
    _latest: np.ndarray | None = field(default=None, repr=False)
    _last: _Key | None = field(default=None, repr=False)
    _flow: _Flow | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.pace < _OF:
            self._flow = _Flow()

    def add(
        self,
        frames: UInt8[np.ndarray, "t H W 3"],
        on_frames: Callable[[int], None] | None = None,
    ) -> Seen:
        """Take the next frames; returns those that are known by now, with their features.

        on_frames: told how many of these frames are done with.
        """
        return [filled() for filled in self._encoded(frames, on_frames)]

    def finish(self) -> Seen:
        """The frames that still wait, once there are no more: the last becomes a key frame."""
        return [filled() for filled in self._last_encoded()]

    def each(
        self,
        chunks: Iterable[np.ndarray],
        beside: Callable[[Iterator[_Filled]], Iterator[_Filled]] = iter,
    ) -> Iterator[tuple[np.ndarray, Features]]:
        """Frames and their features, for as long as chunks come.

        beside: `unveil.video.prefetch.ahead`, for the backbone to look on in a thread of its own
        while what it saw is carried to the frames between.
        """
        for filled in beside(self._all_encoded(chunks)):
            yield filled()

    def _all_encoded(self, chunks: Iterable[np.ndarray]) -> Iterator[_Filled]:
        for frames in chunks:
            yield from self._encoded(frames)
        yield from self._last_encoded()

    def _encoded(
        self, frames: np.ndarray, on_frames: Callable[[int], None] | None = None
    ) -> list[_Filled]:
        """Show the backbone what it is to see of the next frames."""
        if self._flow is None:
            features = self.backbone.encode(frames, self.size, on_frames=on_frames)
            return [lambda: (frames, features)]
        for pixels in frames:
            self._waiting.append(self._look(pixels))
            self._seen += 1
        ready = self._release()
        if on_frames is not None:
            on_frames(len(frames))
        return ready

    def _last_encoded(self) -> list[_Filled]:
        if self._waiting:
            self._waiting[-1] = replace(self._waiting[-1], back=None)
        return self._release()

    def _look(self, pixels: np.ndarray) -> _Frame:
        """A frame as it waits for the next key frame, or is it."""
        height, width, _ = pixels.shape
        h, w = self.backbone.grid(height, width, self.size)
        small = _shrink(pixels, h, w)
        turn = (self._seen + 1) * self.pace // _OF > self._seen * self.pace // _OF
        if self._latest is None or turn:
            self._latest = small
            return _Frame(pixels, small, None)
        assert self._flow is not None
        before = self._waiting[-1] if self._waiting else None
        over = None if before is None or before.back is None else (before.small, before.back)
        return _Frame(pixels, small, self._flow(small, self._latest, h, w, over))

    def _release(self) -> list[_Filled]:
        """Encode the key frames that wait; the frames before them are to be filled in."""
        at = [i for i, frame in enumerate(self._waiting) if frame.back is None]
        if not at:
            return []
        ready, self._waiting = self._waiting[: at[-1] + 1], self._waiting[at[-1] + 1 :]
        some = self.backbone.encode(np.stack([ready[i].pixels for i in at]), self.size)
        if some.saliency is None:
            raise InputError("features without saliency cannot be carried")
        return [partial(self._carried, ready, at, some, some.saliency)]

    def _carried(
        self, ready: list[_Frame], at: list[int], some: Features, saliency: Tensor
    ) -> tuple[np.ndarray, Features]:
        """Frames up to a key frame, and their features. at: the key frames, some: theirs."""
        parts = [some.keys, saliency[..., None]]
        if self.objects is not None:
            parts.append(self.objects(some.keys))
        values, before, start = [], self._last, 0
        for i, told in zip(at, torch.cat([x.float() for x in parts], -1), strict=True):
            after = _Key(told, ready[i].small)
            if before is not None:
                values += self._between(before, ready[start:i], after)
            values.append(after.values)
            before, start = after, i + 1
        self._last = before
        carried = torch.stack(values)
        keys, salient, *rest = (
            x.to(part.dtype)
            for x, part in zip(carried.split([x.shape[-1] for x in parts], -1), parts, strict=True)
        )
        pixels = np.stack([frame.pixels for frame in ready])
        return pixels, Features(keys, some.patch, salient[..., 0], *rest)

    def _between(self, before: _Key, frames: list[_Frame], after: _Key) -> list[Tensor]:
        """The values [h, w, c] of frames between two key frames."""
        h, w, _ = after.values.shape
        both = torch.cat((before.values, after.values)).flatten(0, 1)
        values, over = [], None
        assert self._flow is not None
        for n, frame in reversed(list(enumerate(frames, 1))):
            assert frame.back is not None
            on = self._flow(frame.small, after.small, h, w, over)
            over = frame.small, on
            ways = frame.back.taken(n), on.taken(len(frames) + 1 - n)
            (first, weights), (second, others) = ways
            places = torch.cat((first, second + h * w), 1).to(both.device)
            weights = F.normalize(torch.cat((weights, others), 1), p=1, dim=1).to(both.device)
            carried = F.embedding_bag(places, both, mode="sum", per_sample_weights=weights)
            values.append(carried.unflatten(0, (h, w)))
        return values[::-1]
