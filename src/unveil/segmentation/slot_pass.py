"""The first pass of k-means and of slot models: features in, chunk by chunk, as in `first_pass`."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unveil.errors import InputError
from unveil.progress import Progress, silent
from unveil.segmentation.first_pass import Found, by_saliency, rank, saliency_of
from unveil.settings import CLUSTERS, Settings
from unveil.slots.carry import Carrier
from unveil.slots.kmeans import cluster_keys
from unveil.slots.model_file import Model
from unveil.types import Clusters, Features


@dataclass
class KmeansFinder:
    """K-means of all keys, see `unveil.slots.kmeans`; it needs all features at once."""

    settings: Settings = field(default_factory=lambda: Settings(mode="kmeans"))
    _parts: list[Features] = field(default_factory=list, repr=False)

    def add(self, features: Features, frames: np.ndarray) -> None:
        """Take the features of the next frames; the frames say nothing here."""
        self._parts.append(features)

    def finish(self, report: Progress = silent) -> Found:
        """The clusters of all frames taken. Raises InputError when there were none."""
        if not self._parts:
            raise InputError("no frames to cluster")
        report("clustering", 0, 1)
        features = Features(
            torch.cat([part.keys for part in self._parts]),
            self._parts[0].patch,
            torch.cat([saliency_of(part) for part in self._parts]),
        )
        count = self.settings.objects or CLUSTERS
        labels = cluster_keys(features.keys, count, self.settings.seed)
        report("clustering", 1, 1)
        return rank(Clusters(labels, features.keys.new_zeros(count, 0)), features)


@dataclass
class SlotFinder:
    """A model of `unveil.slots`; features are let go of at once."""

    model: Model
    seed: int = 0
    _carrier: Carrier = field(init=False, repr=False)
    _masks: list[Tensor] = field(default_factory=list, repr=False)
    _saliency: list[Tensor] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._carrier = Carrier(self.model, self.seed)

    def add(self, features: Features, frames: np.ndarray) -> None:
        """Take the features of the next frames; the frames say nothing here."""
        self._masks.append(self._carrier.add(features.keys).cpu())
        self._saliency.append(saliency_of(features))

    def finish(self, report: Progress = silent) -> Found:
        """The slots of all frames taken, the most salient first; those that win no patch are none.

        Raises InputError when there were no frames.
        """
        if not self._masks:
            raise InputError("no frames to see")
        masks = torch.cat([*self._masks, self._carrier.flush().cpu()])
        order, scores = by_saliency(masks.argmax(1), torch.cat(self._saliency))
        masks = masks[:, order]
        ids = (1 + masks.argmax(1)).numpy().astype(np.uint8)
        return Found(ids, scores, masks=masks.numpy())
