"""What is the same of all that is trained on windows of clips: their features, their turns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from unveil.batch.workers import Workers
from unveil.features.backbone import check_size
from unveil.progress import silent
from unveil.training.clips import TrainingClip
from unveil.training.features import Cache, ClipFeatures
from unveil.training.method import Data
from unveil.training.preparation import usable_clips, where
from unveil.training.sampling import Sample, draw_batch, hold_out
from unveil.training.watcher import Watcher
from unveil.training.work import FeatureWork


class WindowMethod:
    """A method whose items are clips with the features of their windows."""

    recipe: Any
    """A `features.Windows`, with a batch and with clips to hold out."""

    def prepare(
        self,
        videos: Path | Sequence[TrainingClip],
        fabric: Fabric,
        cache: Cache,
        watcher: Watcher,
        workers: Workers,
    ) -> Data:
        """The features of every clip, from the cache or computed."""
        r = self.recipe
        check_size(r.backbone, r.size)
        work = FeatureWork(cache.folder, recipe=r, on=where(fabric, workers))
        clips = usable_clips(videos, "features", work, workers, fabric, watcher)
        features = [cache.get(clip, r, lambda: work.backbone(silent)) for clip in clips]
        if fabric.is_global_zero:
            cache.evict()
        train, held = hold_out(features, r.validation, r.seed)
        names = {"train": [c.clip.name for c in train], "held": [c.clip.name for c in held]}
        return Data(train, held, [c.clip.digest for c in train], names)

    def draw(self, items: Sequence[ClipFeatures], step: int) -> list[Sample]:
        """The samples of a step: each clip comes once an epoch."""
        return draw_batch(self.recipe, items, step)
