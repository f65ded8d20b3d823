"""The one place where the stages meet: a video in, its objects out.

    segmentation = Segmenter()("dog.mp4")
    segmentation.save("out/dog")

A video is passed over twice, so that its frames never have to be kept: once to see what is in
it, once to paint what was found at full resolution.
"""

import platform
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unveil.address import as_path
from unveil.attention.block_file import calibrated_tau, load_block, shipped_block
from unveil.attention.objects_file import load_head, shipped_head
from unveil.attention.objects_head import ObjectsHead, told
from unveil.checks import check
from unveil.errors import InputError
from unveil.fast.groups import BLOCK, Groups
from unveil.fast.stretches import StretchGrouper
from unveil.features.backbone import RELEASED_COLOURS, Backbone
from unveil.features.propagation import PACES, Propagation
from unveil.progress import Progress, silent
from unveil.results.writer import Writer
from unveil.segmentation import refine
from unveil.segmentation.first_pass import FastFinder, Found, PaperFinder
from unveil.segmentation.live import STRETCH, LiveRun, write_live
from unveil.segmentation.preconditions import check_settings
from unveil.segmentation.second_pass import paint, write
from unveil.segmentation.segmentation import Segmentation, painted_scores
from unveil.segmentation.slot_pass import KmeansFinder, SlotFinder
from unveil.segmentation.stream import Labelled, Stream, in_blocks
from unveil.settings import Settings
from unveil.slots.carry import Carrier
from unveil.slots.model_file import load_model
from unveil.threads import shared_threads
from unveil.timing import Clock, peak_memory_mb
from unveil.types import Features
from unveil.video.live import Live
from unveil.video.live_source import LiveSource
from unveil.video.prefetch import ahead, frames_at_once
from unveil.video.source import Source, Video, open_video


class Segmenter:
    """Keeps the models loaded, for one video after the other.

    Settings are given as keywords, see `unveil.settings.Settings`: `Segmenter(size=480)`.
    Raises WeightsError for weights that are missing or do not fit, InputError for a device that
    is not there.
    """

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        settings = check("settings", settings or Settings(), Settings)
        if unknown := sorted(set(changes) - {field.name for field in fields(Settings)}):
            raise InputError(f"no such setting: {unknown[0]!r}")
        self.settings = s = check_settings(replace(settings, **changes))
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}.get(s.precision)
        colours = RELEASED_COLOURS if s.normalisation == "released" else None
        self.backbone = Backbone(
            s.backbone,
            s.device,
            dtype,
            colours,
            by_scale=s.positions == "scale",
            int8=s.precision == "int8",
        )
        self._block = self._model = None
        if s.model is not None:
            self._model = load_model(s.model, self.backbone.channels).to(self.backbone.device)
        if s.rows == "block":
            self._block = load_block(s.block, s.backbone, self.backbone.channels)
        self._head = _head(s, self.backbone)
        if s.tau == "calibrated":
            tau = calibrated_tau(s.block or shipped_block(s.backbone))
            self.settings = replace(s, tau=tau)

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

        source, start, end (seconds), stride: as `unveil.video.source.open_video` takes them.
        """
        span: dict[str, Any] = {"start": start, "end": end, "stride": stride}
        video, clock, report = open_video(source, **span), Clock(), on_progress or silent
        found = self._look(video, clock, report)
        painted = paint(video, found, self.settings.chunk, clock, report)
        frames, parts = zip(*painted, strict=True)
        labels = np.concatenate(parts)
        scores = painted_scores(labels, found.scores)
        return Segmentation(
            labels=labels,
            scores=scores,
            fps=video.fps,
            name=video.name,
            frame_names=video.frame_names,
            frames=np.concatenate(frames),
            run=self._run(video, found, len(scores), clock, source, span),
            state=found.state,
            evidence=found.evidence,
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
        groups: Iterable[Groups] | None = None,
    ) -> dict[str, Any]:
        """Segment a video straight into a folder of results, a chunk of frames at a time.

        groups: of all its frames, where they come from elsewhere, as `groups_of` gives them; then
        the video is not looked at here. Returns what `run.json` says. Raises OutputError where the
        folder cannot be written; nothing half-written is left behind.
        """
        span: dict[str, Any] = {"start": start, "end": end, "stride": stride}
        video, clock, report = open_video(source, **span), Clock(), on_progress or silent
        shape: dict[str, Any] = {"height": video.height, "width": video.width}
        with Writer(Path(out), name=video.name, fps=video.fps, **shape) as writer:
            found = self._look(video, clock, report, writer.path, groups)
            write(writer, video, found, self.settings.chunk, clock, report)
            with clock("write"):
                objects = len(writer.painted())
            run = self._run(video, found, objects, clock, source, span)
            writer.finish(found.scores, run)
        return run

    def groups_of(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        stride: int = 1,
        lead: int = 0,
        on_progress: Progress | None = None,
    ) -> Iterator[Groups]:
        """The small groups of a stretch of a video, block by block: what fast mode sees in it.

        lead: of its first so many frames none are given, see `unveil.fast.stretches`. Raises
        InputError in other modes.
        """
        self.settings.check_stretches()
        video = open_video(source, start=start, end=end, stride=stride)
        grouper = StretchGrouper(self._head, lead)
        for frames, features in self._seen(video, Clock(), on_progress or silent):
            grouper.add(features, frames)
            yield from grouper.pop()
        yield from grouper.pop(flush=True)

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Label frames while they come, for as long as they come (fast mode, or a slot model).

        frames: uint8 RGB, single ones [H, W, 3] or chunks [t, H, W, 3], of one size. Yields
        frames [t, H, W, 3] in their order and their labels [t, H, W], at most 23 frames late (a
        slot model: none, or those on one side of its window); how the frames were chunked changes
        nothing. Ids last. Memory is bounded, see `unveil.segmentation.stream`. Frames of a `Live`
        are taken in threads beside the caller's, and up to two blocks more are under way.

            for frames, labels in Segmenter().stream(camera):
                show(unveil.results.overlay.overlay(frames, labels))

        Raises InputError in other modes, and for what is no frame or of another size.
        """
        s = self.settings
        if self._model is not None:
            return self._carry(Carrier(self._model, s.seed), in_blocks(frames, 1))
        if s.mode != "fast":
            raise InputError(f"{s.mode} mode needs the whole video at once: stream in fast mode")
        if isinstance(frames, Live):
            return self._keep_up(self._new_stream(), frames)
        return self._stream(self._new_stream(), in_blocks(frames))

    def segment_live(
        self,
        live: Live,
        source: LiveSource,
        out: Path,
        *,
        stretch: float = STRETCH,
        on_block: Callable[[LiveRun], None] = lambda done: None,
    ) -> LiveRun:
        """Segment a source at its own pace into a folder of results, one each `stretch` seconds.

            with open_live("camera:0") as source:
                segmenter.segment_live(Live(source.frames), source, Path("out/desk"))

        Frames are dropped by the rule of `unveil.video.live`; `Live.end` ends it. on_block: told
        after each block of frames how far it is. Raises InputError in other modes than fast, else
        as `unveil.segmentation.live.write_live`.
        """
        if self.settings.way != "fast":
            raise InputError("a live source needs fast mode, and no model: leave them out")
        stream = self._new_stream()
        grid = self.backbone.grid(source.height, source.width, self.settings.size)
        video = {
            "name": source.name,
            "height": source.height,
            "width": source.width,
            "fps": str(source.fps),
            "source": None,  # its frames cannot be read again
        }

        def run(frames: int, objects: int) -> dict[str, Any]:
            about = {"frames": frames, **video}
            return self._about(video=about, grid=list(grid), objects=objects, warnings=[])

        with closing(self._keep_up(stream, live)) as labelled:
            return write_live(labelled, live, source, out, stream.scores, run, stretch, on_block)

    def _new_stream(self) -> Stream:
        s = self.settings
        return Stream(
            self._block,
            self._head,
            seed=s.seed,
            objects=s.objects,
            granularity=s.granularity,
            keep_background=s.keep_background,
            min_score=s.min_score,
        )

    def _stream(
        self, stream: Stream, blocks: Iterator[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for labelled in _cut(stream, self._encoder().each(blocks)):
            yield labelled.frames, refine.sharpen(*labelled.patches, labelled.frames)

    def _keep_up(
        self, stream: Stream, live: Live
    ) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """The same of a source that does not wait: while a block is cut, the backbone looks at the
        next one and edges of the one before are found, each in a thread of its own.
        """
        encoder = self._encoder()
        at_once = 1 if encoder.pace < BLOCK else BLOCK  # flow is searched as frames come
        with shared_threads(2):
            seen = encoder.each(in_blocks(live, at_once), ahead)
            for labelled in ahead(_cut(stream, seen)):
                try:
                    yield labelled.frames, refine.sharpen(*labelled.patches, labelled.frames)
                except GeneratorExit:  # or threads would wait for frames that may never come
                    live.end()
                    raise

    def _carry(
        self, carrier: Carrier, blocks: Iterator[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        waiting: list[np.ndarray] = []

        def decided(masks: Tensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            if len(masks):
                frames = np.stack(waiting[: len(masks)])
                del waiting[: len(masks)]
                yield frames, refine.upsample(masks.cpu().numpy(), *frames.shape[1:3])

        for block in blocks:
            waiting.extend(block)
            yield from decided(carrier.add(self.backbone.encode(block, self.settings.size).keys))
        yield from decided(carrier.flush())

    def _finder(self, folder: Path | None) -> FastFinder | PaperFinder | KmeansFinder | SlotFinder:
        """What looks at the features of a video. folder: where it may keep what is large."""
        s = self.settings
        if self._model is not None:
            return SlotFinder(self._model, s.seed)
        if s.mode == "kmeans":
            return KmeansFinder(s)
        if s.mode == "paper":
            return PaperFinder(s, self._block)
        return FastFinder(s, self._block, self._head, folder)

    def _look(
        self,
        video: Video,
        clock: Clock,
        report: Progress,
        folder: Path | None = None,
        groups: Iterable[Groups] | None = None,
    ) -> Found:
        """The first pass: what is in the video."""
        finder = self._finder(folder)
        if groups is not None:
            self.settings.check_stretches()
            assert isinstance(finder, FastFinder)
            for block in clock.each("backbone", iter(groups)):
                finder.take(block)
        else:
            for frames, features in self._seen(video, clock, report):
                with clock("clustering"):
                    finder.add(features, frames)
        with clock("clustering"):
            return finder.finish(report)

    def _seen(
        self, video: Video, clock: Clock, report: Progress
    ) -> Iterator[tuple[np.ndarray, Features]]:
        """The frames of a video, and their features."""
        encoder, done = self._encoder(), 0

        def tell(more: int) -> None:
            report("backbone", done + more, video.estimate)

        tell(0)
        chunk = frames_at_once(self.settings.chunk, video.height, video.width)
        for frames in clock.each("decode", ahead(video.chunks(chunk))):
            with clock("backbone"):
                ready = encoder.add(frames, tell)
            yield from ready
            done += len(frames)
        with clock("backbone"):
            ready = encoder.finish()
        report("backbone", done, done)
        yield from ready

    def _encoder(self) -> Propagation:
        """What makes the features of one video."""
        objects = None if self._head is None else partial(told, self._head)
        return Propagation(self.backbone, self.settings.size, PACES[self.settings.speed], objects)

    def _run(
        self,
        video: Video,
        found: Found,
        objects: int,
        clock: Clock,
        source: Source,
        span: dict[str, Any],
    ) -> dict[str, Any]:
        t, h, w = found.ids.shape
        return self._about(
            video={
                "name": video.name,
                "frames": t,
                "height": video.height,
                "width": video.width,
                "fps": str(video.fps),
                "source": _absolute(source) if isinstance(source, str | Path) else None,
                **span,
            },
            warnings=list(video.warnings),
            grid=[h, w],
            shots=[0] if found.state is None else found.state.shots.tolist(),
            objects=objects,
            seconds={k: round(v, 3) for k, v in clock.seconds.items()},
        )

    def _about(self, **of_video: Any) -> dict[str, Any]:
        """What run.json says: of this video, and of how and where it was segmented."""
        return {
            "unveil": version("unveil"),
            "settings": self.settings.plain(),
            **of_video,
            "peak_memory_mb": peak_memory_mb(),
            "device": str(self.backbone.device),
            "precision": self.backbone.precision,
            "python": platform.python_version(),
            "torch": torch.__version__,
        }


def _cut(stream: Stream, seen: Iterable[tuple[np.ndarray, Features]]) -> Iterator[Labelled]:
    """All frames of which features come, as a stream labels them."""
    for frames, features in seen:
        yield from stream.add(features, frames)
    yield from stream.flush()


def _head(settings: Settings, backbone: Backbone) -> ObjectsHead | None:
    """The objects' head asked for, else the one that is shipped; None where neither is."""
    if settings.way != "fast":
        return None
    path = settings.head or shipped_head(settings.backbone)
    if path is None:
        return None
    return load_head(path, settings.backbone, backbone.channels).to(backbone.device)


def _absolute(path: str | Path) -> str:
    return str(as_path(path).absolute())


def segment(source: Source, **options: Any) -> Segmentation:
    """Segment one video: `unveil.segment("dog.mp4").save("out/dog")`.

    options: `start`, `end` (seconds), `stride`, `on_progress`, and any of
    `unveil.settings.Settings`. For many videos, keep a `Segmenter`.
    """
    of_video = {"start", "end", "stride", "on_progress"} & set(options)
    call = {name: options.pop(name) for name in of_video}
    return Segmenter(**options)(source, **call)
