"""The objects of a video, one label a pixel: what the main job returns."""

import base64
import html
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from unveil.checks import require
from unveil.errors import InputError
from unveil.exports.formats import export
from unveil.exports.looking import Layer, detections, napari_layers
from unveil.exports.result import Result, Thing, with_video
from unveil.fast.evidence import Evidence
from unveil.fast.state import State
from unveil.results.contact import ContactSheet
from unveil.results.overlay import overlay
from unveil.results.writer import Writer
from unveil.segmentation import refine
from unveil.segmentation.first_pass import cut
from unveil.segmentation.soft_edges import shares_of
from unveil.settings import cut_wishes

log = logging.getLogger(__name__)
_ROWS = 10  # objects that a repr lists


@dataclass(frozen=True, repr=False)
class Object:
    """One object of a segmentation: its id, its score in 0 … 1, its masks bool [T, H, W]."""

    id: int
    score: float
    masks: np.ndarray

    def __repr__(self) -> str:
        seen = np.flatnonzero(self.masks.any((1, 2)))
        where = f"frames {seen[0]} … {seen[-1]}" if len(seen) else "no frame"
        return f"Object {self.id}: score {self.score:.2f}, in {where}"


@dataclass(frozen=True, repr=False)
class Segmentation:
    """The objects of a video, one label a pixel.

    labels: uint8 or uint16 [T, H, W]; 0 is background, any other number an object's id, the same
    in every frame. scores: id → score in 0 … 1. frames: uint8 [T, H, W, 3] the labels belong to,
    for pictures; None where they were not kept. run: settings, versions and seconds a stage.
    state: what `recut` needs, an `unveil.fast.state.State`; None where there is none. evidence:
    what parting its objects by hand needs beside it.
    """

    labels: np.ndarray
    scores: Mapping[int, float]
    fps: Fraction = Fraction(24)
    name: str = "video"
    frame_names: tuple[str, ...] = ()
    frames: np.ndarray | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    state: State | None = field(default=None, repr=False)
    evidence: Evidence | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        x = self.labels
        shape = f"{x.dtype} {list(x.shape)}"
        require(
            x.ndim == 3 and x.dtype in (np.uint8, np.uint16),
            "labels",
            "uint8 or uint16 [T, H, W]",
            shape,
        )
        if not self.frame_names:
            object.__setattr__(self, "frame_names", tuple(f"{i:05d}" for i in range(len(x))))
        require(len(self.frame_names) == len(x), "frame_names", f"{len(x)} names", self.frame_names)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of all objects, ascending; never 0."""
        return tuple(sorted(self.scores))

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        t, h, w = self.labels.shape
        objects, frames = _count(len(self), "object"), _count(t, "frame")
        kept = "" if self.frames is None else ", frames kept"
        head = f"Segmentation of {self.name}: {objects} in {frames} of {w}x{h}{kept}"
        rows = [f"  {i:>3}  score {self.scores[i]:.2f}" for i in self.ids[:_ROWS]]
        more = [f"  … and {len(self) - _ROWS} more"] if len(self) > _ROWS else []
        return "\n".join([head, *rows, *more])

    def _repr_html_(self) -> str:
        """What a notebook shows: frames over their objects, or words where none are kept."""
        words = f"<pre>{html.escape(repr(self))}</pre>"
        if self.frames is None:
            return words
        sheet = ContactSheet(self.name)
        for frame, labels in zip(self.frames, self.labels, strict=True):
            sheet.add(frame, labels)
        data = io.BytesIO()
        sheet.draw(self.scores, self.run.get("shots", (0,))).save(data, "JPEG", quality=85)
        picture = base64.b64encode(data.getvalue()).decode()
        alt = html.escape(repr(self), quote=True)
        return f'<img style="max-width:100%" alt="{alt}" src="data:image/jpeg;base64,{picture}">'

    def __iter__(self) -> Iterator[Object]:
        return (self[id] for id in self.ids)

    def __getitem__(self, id: int) -> Object:
        """The object of an id, with its masks. Raises InputError for an id that is not there."""
        if id not in self.scores:
            raise InputError(f"no object {id}: this segmentation has {list(self.ids)}")
        return Object(id, self.scores[id], self.labels == id)

    def masks(self, id: int) -> np.ndarray:
        """`found[id].masks`, under the name that it had before."""
        return self[id].masks

    def save(self, out: str | Path) -> Path:
        """Write masks, pictures, objects.json, state.npz and run.json; return the folder."""
        return _save(self, out)

    def export(
        self,
        path: str | Path,
        format: str,
        *,
        objects: Sequence[int] | None = None,
        every: int = 1,
        names: Mapping[int, str] | None = None,
        again: bool = False,
        **options: Any,
    ) -> Path:
        """Write the objects in the form of another tool; return where they lie.

        Args:
            path: the file or folder that the export becomes.
            format: a name of `unveil.exports.formats.FORMATS`: coco, yolo, csv, prores, …
            objects: only these ids.
            every: every so many frames one.
            names: id → name, which becomes the class.
            again: replace what an earlier export wrote there.
            options: what can be chosen about the form, as its function says.

        Raises InputError for a format, an id or an option that is not there, OutputError where
        the path cannot be written or a library is missing.
        """
        result = self.as_result().select(objects, every, names)
        return export(result, path, format, again=again, **options)

    def to_napari(self) -> list[Layer]:
        """Layers of napari, without importing it: pictures where they are kept, and labels.

        for layer in found.to_napari():
            viewer.add_layer(napari.layers.Layer.create(*layer))
        """
        return napari_layers(self.as_result())

    def to_supervision(self) -> Iterator[Any]:
        """A `supervision.Detections` a frame; the ids are tracker ids.

        Raises OutputError where supervision is not installed.
        """
        return detections(self.as_result())

    def as_result(self) -> Result:
        """The same as exports read it, frame by frame."""
        _, h, w = self.labels.shape
        result = Result(
            name=self.name,
            fps=self.fps,
            height=h,
            width=w,
            frame_names=self.frame_names,
            things=tuple(Thing(id, self.scores[id]) for id in self.ids),
            read=self.labels.__getitem__,
            chosen=range(len(self.labels)),
        )
        result = with_video(result, self.run.get("video") or {})
        if self.state is not None:
            said = self.run.get("settings") or {}
            wishes = {k: said.get(k) for k in ("objects", "granularity", "min_score")}
            found = cut(self.state, **wishes, keep_background=bool(said.get("keep_background")))
            result = replace(result, shares=shares_of(found))
        frames = self.frames
        if frames is None:
            return result
        return replace(result, open_frames=lambda: iter(frames), open_files=tuple)

    def recut(
        self,
        objects: int | None = None,
        granularity: float | None = None,
        keep_background: bool = False,
        min_score: float | None = None,
    ) -> "Segmentation":
        """The same video cut into other objects, without computing its features again.

        Arguments as in `unveil.Settings`. Raises InputError where they contradict, and where this
        segmentation kept no merge tree or no frames.
        """
        return _recut(self, cut_wishes(objects, granularity, keep_background, min_score))

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """The frames with the objects painted over them, uint8 [T, H, W, 3]."""
        if self.frames is None:
            raise InputError("this segmentation kept no frames to paint on")
        return overlay(self.frames, self.labels, alpha)


def painted_scores(labels: np.ndarray, scores: Mapping[int, float]) -> dict[int, float]:
    """The scores of the objects that some pixel shows: of what was found, edges leave some none."""
    seen = np.zeros(np.iinfo(labels.dtype).max + 1, bool)
    for frame in labels:
        seen[frame] = True
    return {id: score for id, score in scores.items() if seen[id]}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


_CHUNK = 16  # frames at a time when a whole segmentation is saved


def _save(segmentation: Segmentation, out: str | Path) -> Path:
    """Write masks, overlay.mp4, objects.json, contact.png and run.json; return the folder.

    Without frames there are no pictures. Raises OutputError where `out` cannot be written.
    """
    s = segmentation
    t, h, w = s.labels.shape
    if s.frames is None:
        log.warning("%s kept no frames: no overlay.mp4 and no contact.png", s.name)
    with Writer(out, name=s.name, fps=s.fps, height=h, width=w) as writer:
        for i in range(0, t, _CHUNK):
            part = slice(i, i + _CHUNK)
            frames = None if s.frames is None else s.frames[part]
            writer.write(frames, s.labels[part], s.frame_names[part])
        if s.state is not None:
            writer.keep(s.state, s.evidence)
        return writer.finish(s.scores, s.run)


def _recut(segmentation: Segmentation, wishes: dict[str, Any]) -> Segmentation:
    """The same for a segmentation in memory. Raises InputError without a state or frames."""
    s = segmentation
    if s.state is None or s.frames is None:
        lacks = "merge tree (only fast mode keeps one)" if s.state is None else "frames"
        raise InputError(f"{s.name} cannot be cut anew: this segmentation kept no {lacks}")
    found = cut(s.state, **wishes)
    assert found.share is not None  # what is cut from a state has them
    labels = refine.labels(found.ids[:], found.share[:], s.frames)
    scores = painted_scores(labels, found.scores)
    run = dict(s.run) | {"objects": len(scores), "recut": True}
    run["settings"] = {**run.get("settings", {}), **wishes}
    return replace(s, labels=labels, scores=scores, run=run)
