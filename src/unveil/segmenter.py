"""The one place where the stages meet: a video in, its objects out.

    segmentation = Segmenter()("dog.mp4")
    segmentation.save("out/dog")

A video is passed over twice, so that its frames never have to be kept: once to see what is in
it, once to paint what was found at full resolution.
"""

import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unveil import attention, refine
from unveil.backbone import Backbone
from unveil.cluster import paper
from unveil.errors import InputError
from unveil.export import Writer
from unveil.settings import Settings
from unveil.types import Clusters, Features, Segmentation
from unveil.video import Source, Video, open_video

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, what is done and what there is to do (None where nobody knows)."""


@dataclass
class Clock:
    """Seconds a stage took, added up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def each(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        """The items, with the time that each took to come."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item


@dataclass(frozen=True)
class Found:
    """What the first pass found: ids a patch [T, h, w], 0 background, and a score an id."""

    ids: np.ndarray
    scores: dict[int, float]


class Segmenter:
    """Keeps the models loaded, for one video after the other.

    Settings are given as keywords, see `unveil.settings.Settings`: `Segmenter(size=480)`.
    Raises WeightsError for weights that are missing or do not fit, InputError for a device that
    is not there.
    """

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        try:
            self.settings = replace(settings or Settings(), **changes)
        except TypeError as error:
            raise InputError(f"no such setting: {str(error).split()[-1]}") from None
        s = self.settings
        dtype = {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}[s.precision]
        self.backbone = Backbone(s.backbone, s.device, dtype)
        self._block = None
        if s.attention == "block":
            self._block = attention.load_block(s.block, s.backbone, self.backbone.channels)

    def __call__(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        stride: int = 1,
        on_progress: Progress | None = None,
    ) -> Segmentation:
        """Segment a video and keep the result, and its frames, in memory.

        source, start, end (seconds), stride: as `unveil.video.open_video` takes them.
        """
        video = open_video(source, start=start, end=end, stride=stride)
        clock = Clock()
        found = self._look(video, clock, on_progress)
        frames, labels = zip(*self._paint(video, found, clock, on_progress), strict=True)
        return Segmentation(
            labels=np.concatenate(labels),
            scores=found.scores,
            fps=video.fps,
            name=video.name,
            frame_names=video.frame_names,
            frames=np.concatenate(frames),
            run=self._run(video, found, clock),
        )

    def segment_to(
        self,
        source: Source,
        out: Path,
        *,
        start: float | None = None,
        end: float | None = None,
        stride: int = 1,
        on_progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Segment a video straight into a folder of results, a chunk of frames at a time.

        Returns what `run.json` says. Raises OutputError where the folder cannot be written;
        nothing half-written is left behind.
        """
        video = open_video(source, start=start, end=end, stride=stride)
        clock = Clock()
        shape = {"height": video.height, "width": video.width}
        with Writer(Path(out), name=video.name, fps=video.fps, **shape) as writer:
            found = self._look(video, clock, on_progress)
            done = 0
            for frames, labels in self._paint(video, found, clock, on_progress):
                names = [video.frame_name(i) for i in range(done, done + len(frames))]
                with clock("write"):
                    writer.write(frames, labels, names)
                done += len(frames)
            run = self._run(video, found, clock)
            writer.finish(found.scores, run)
        return run

    def _look(self, video: Video, clock: Clock, on_progress: Progress | None) -> Found:
        """The first pass: features of every frame, then their clusters."""
        report = on_progress or _silent
        parts = []
        done = 0
        for frames in clock.each("decode", video.chunks(self.settings.chunk)):
            with clock("backbone"):
                parts.append(self.backbone.encode(frames, self.settings.size))
            done += len(frames)
            report("backbone", done, video.estimate)
        report("backbone", done, done)
        features = Features(
            torch.cat([p.keys for p in parts]),
            self.backbone.patch,
            torch.cat([p.saliency for p in parts]),
        )
        with clock("clustering"):
            clusters = paper.merge(
                self._rows(features),
                self.settings.tau,
                on_progress=lambda done, total: report("clustering", done, total),
            )
        return _ranked(clusters, features)

    def _rows(self, features: Features) -> attention.Rows:
        if self._block is None:
            return attention.cosine_rows(features, self.settings.key_every)
        return attention.block_rows(features, self._block, self.settings.key_every)

    def _paint(
        self, video: Video, found: Found, clock: Clock, on_progress: Progress | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The second pass: frames and their labels [t, H, W] at full resolution."""
        report = on_progress or _silent
        done = 0
        for frames in clock.each("decode", video.chunks(self.settings.chunk)):
            t, height, width, _ = frames.shape
            with clock("refine"):
                labels = refine.nearest(found.ids[done : done + t], height, width)
            done += t
            yield frames, labels
            report("writing", done, len(found.ids))

    def _run(self, video: Video, found: Found, clock: Clock) -> dict[str, Any]:
        settings = {
            k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.settings).items()
        }
        t, h, w = found.ids.shape
        return {
            "unveil": version("unveil"),
            "settings": settings,
            "video": {
                "name": video.name,
                "frames": t,
                "height": video.height,
                "width": video.width,
                "fps": str(video.fps),
            },
            "warnings": list(video.warnings),
            "grid": [h, w],
            "objects": len(found.scores),
            "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
            "peak_memory_mb": _peak_memory_mb(),
            "device": str(self.backbone.device),
            "precision": str(self.backbone.dtype).removeprefix("torch."),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }


def segment(source: Source, **options: Any) -> Segmentation:
    """Segment one video: `unveil.segment("dog.mp4").save("out/dog")`.

    options: `start`, `end` (seconds), `stride`, `on_progress`, and any of
    `unveil.settings.Settings`. For many videos, keep a `Segmenter`.
    """
    of_video = {"start", "end", "stride", "on_progress"} & set(options)
    call = {name: options.pop(name) for name in of_video}
    return Segmenter(**options)(source, **call)


def _ranked(clusters: Clusters, features: Features) -> Found:
    """Clusters as ids 1 … K, the most salient first.

    The published method has no background and ranks nothing. The score is the backbone's own
    attention: s / (1 + s) with s the mean CLS attention of a cluster's patches over that of all.
    """
    t, h, w = clusters.labels.shape
    flat = clusters.labels.flatten().cpu()
    saliency = features.saliency.float().flatten().cpu() * (h * w)
    # A centre that won no token is no cluster.
    present, flat = flat.unique(return_inverse=True)
    k = len(present)
    counts = torch.bincount(flat, minlength=k)
    means = torch.zeros(k).index_add_(0, flat, saliency) / counts
    order = means.argsort(descending=True, stable=True)
    ids = torch.empty(k, dtype=torch.long)
    ids[order] = torch.arange(1, k + 1)
    dtype = np.uint8 if k <= np.iinfo(np.uint8).max else np.uint16
    scores = (means / (1 + means))[order].tolist()
    return Found(
        ids[flat].reshape(t, h, w).numpy().astype(dtype),
        {i + 1: round(score, 4) for i, score in enumerate(scores)},
    )


def _peak_memory_mb() -> int:
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _silent(stage: str, done: int, total: int | None) -> None:
    return None
