"""The first pass over a video: features in, chunk by chunk, and at the end what is in it.

finder = FastFinder()
for frames in video.chunks(16):
    finder.add(backbone.encode(frames), frames)
found = finder.finish()
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unveil.attention.block import Block
from unveil.attention.objects_head import ObjectsHead
from unveil.attention.rows import Rows, block_rows, cosine_rows
from unveil.editing.stroke import Painted
from unveil.errors import InputError
from unveil.fast.describe import describe, of_groups
from unveil.fast.evidence import Evidence, evidence
from unveil.fast.groups import Grouper, Groups
from unveil.fast.spool import Spool
from unveil.fast.state import OfPatches, State
from unveil.paper.clustering import merge
from unveil.progress import Progress, silent
from unveil.results.coco import About
from unveil.settings import KEY_EVERY, TAU, Settings
from unveil.types import Clusters, Features


@dataclass(frozen=True)
class Found:
    """What the first pass found.

    ids: [T, h, w], the object that a patch is of or next to, 0 where none is. scores: id → 0 … 1.
    share: [T, h, w], how much of a patch is that object's; None where all is. state: what a new
    cut needs, where the mode keeps a tree; evidence: what parting objects by hand needs beside it.
    masks: [T, K, h, w], of a slot model, how much of a patch is of object 1 … K; they are upsampled
    as published. about: names, classes and colours given by hand; strokes: of a brush, a frame.
    edits: their log.
    """

    ids: np.ndarray | OfPatches
    scores: dict[int, float]
    share: np.ndarray | OfPatches | None = None
    state: State | None = None
    evidence: Evidence | None = None
    about: Mapping[int, About] = field(default_factory=dict)
    strokes: Mapping[int, tuple[Painted, ...]] = field(default_factory=dict)
    edits: str = ""
    masks: np.ndarray | None = None


@dataclass
class FastFinder:
    """The default mode, see `unveil.fast.describe`; features are let go of at once.

    folder: where keys of the groups may lie meanwhile, as `fast.spool.Spool` takes it.
    """

    settings: Settings = field(default_factory=Settings)
    block: Block | None = None
    head: ObjectsHead | None = None
    folder: Path | None = None
    _grouper: Grouper = field(init=False, repr=False)
    _spool: Spool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._grouper, self._spool = Grouper(self.head), Spool(self.folder)

    def add(self, features: Features, frames: np.ndarray) -> None:
        """Take the features of the next frames [t, H, W, 3]."""
        self._grouper.add(features, frames)
        self._keep()

    def take(self, block: Groups) -> None:
        """Take the groups of the next frames, where they are known."""
        self._spool.add(block)

    def _keep(self, flush: bool = False) -> None:
        for block in self._grouper.pop(flush):
            self.take(block)

    def finish(self, report: Progress = silent) -> Found:
        """What all frames taken show. Raises InputError when there were none."""
        report("clustering", 0, 1)
        self._keep(flush=True)
        groups, keys = self._spool.join()
        state = describe(groups, self.block, seed=self.settings.seed)
        s = self.settings
        found = cut(state, s.objects, s.granularity, s.keep_background, s.min_score)
        found = replace(found, evidence=evidence(groups, keys))
        report("clustering", 1, 1)
        return found


@dataclass
class PaperFinder:
    """The published clustering, see `unveil.paper.clustering`; it needs all features at once."""

    settings: Settings = field(default_factory=lambda: Settings(mode="paper"))
    block: Block | None = None
    _parts: list[Features] = field(default_factory=list, repr=False)

    def add(self, features: Features, frames: np.ndarray) -> None:
        """Take the features of the next frames; the frames say nothing here."""
        self._parts.append(features)

    def finish(self, report: Progress = silent) -> Found:
        """The clusters of all frames taken. Raises InputError when there were none."""
        if not self._parts:
            raise InputError("no frames to cluster")
        features = Features(
            torch.cat([part.keys for part in self._parts]),
            self._parts[0].patch,
            torch.cat([saliency_of(part) for part in self._parts]),
        )
        copied = self.settings.last_frame == "copied" and len(features.keys) > 1
        if copied:
            features = Features(features.keys[:-1], features.patch, saliency_of(features)[:-1])
        every = self.settings.key_every or KEY_EVERY
        rows: Rows = (
            cosine_rows(features, every)
            if self.block is None
            else block_rows(features, self.block, every)
        )
        tau = self.settings.tau or TAU
        if isinstance(tau, str):
            raise InputError("a calibrated tau is a number here: unveil.Segmenter works it out")
        clusters = merge(
            rows,
            tau,
            on_progress=lambda done, total: report("clustering", done, total),
        )
        found = rank(clusters, features)
        return replace(found, ids=np.append(found.ids[:], found.ids[-1:], 0)) if copied else found


def cut(
    state: State,
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    min_score: float | None = None,
) -> Found:
    """The objects of a state by wishes as `fast.find` takes them, in milliseconds."""
    found = of_groups(state, objects, granularity, keep_background, min_score)
    near, share = (OfPatches(state.groups, x) for x in (found.near, found.share))
    return Found(near, found.scores, share, state)


def rank(clusters: Clusters, features: Features) -> Found:
    """Clusters as ids 1 … K, the most salient first.

    The published method has no background and ranks nothing. The score is the backbone's own
    attention: s / (1 + s) with s the mean CLS attention of a cluster's patches over that of all.
    """
    order, scores = by_saliency(clusters.labels, saliency_of(features))
    ids = torch.zeros(int(order.max()) + 1, dtype=torch.long)
    ids[order] = torch.arange(1, len(order) + 1)
    dtype = np.uint8 if len(order) <= np.iinfo(np.uint8).max else np.uint16
    return Found(ids[clusters.labels.cpu()].numpy().astype(dtype), scores)


def by_saliency(labels: Tensor, saliency: Tensor) -> tuple[Tensor, dict[int, float]]:
    """The labels that there are in [t, h, w], the most salient first, and the scores of their ids.

    Ids count from 1 in that order. saliency: [t, h, w], as `Features` has it.
    """
    _, h, w = labels.shape
    flat = labels.flatten().cpu()
    salient = saliency.float().flatten().cpu() * (h * w)
    # A centre that won no token is no cluster.
    present, flat = flat.unique(return_inverse=True)
    k = len(present)
    counts = torch.bincount(flat, minlength=k)
    means = torch.zeros(k).index_add_(0, flat, salient) / counts
    order = means.argsort(descending=True, stable=True)
    scores = (means / (1 + means))[order].tolist()
    return present[order], {i + 1: round(score, 4) for i, score in enumerate(scores)}


def saliency_of(features: Features) -> Tensor:
    """The saliency [t, h, w] of features that have one, as those of every backbone do."""
    if features.saliency is None:
        raise InputError("features without saliency: clusters cannot be ranked")
    return features.saliency
