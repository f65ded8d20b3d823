"""What a worker does for a training: compute the features that are kept, a clip at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from unveil.batch.job import Job, Outcome
from unveil.batch.work import Work
from unveil.batch.workers import Workers
from unveil.errors import TrainingError, WeightsError
from unveil.features.backbone import Backbone
from unveil.files import scratch
from unveil.progress import Progress
from unveil.training.clips import TrainingClip
from unveil.training.composite_data import composite_features
from unveil.training.features import Cache, Store, cannot_keep
from unveil.training.sources import read_source


@dataclass
class FeatureWork(Work):
    """Puts the features of windows of clips into the cache in `out`; the clip is an option.

    recipe: what they depend on. on: the device; the best by default.
    """

    recipe: Any = field(default=None, kw_only=True)
    on: str | None = field(default=None, kw_only=True)
    _backbone: Backbone | None = field(default=None, repr=False, kw_only=True)
    FATAL = (WeightsError, TrainingError)

    @property
    def wished(self) -> str | None:
        """The device that was asked for."""
        return self.on

    def do(self, job: Job, report: Progress) -> Outcome:
        """Compute what is not there."""
        clip = job.options["clip"]
        features = self._cache.get(clip, self.recipe, lambda: self.backbone(report))
        return Outcome(frames=features.count * self.recipe.frames)

    def has(self, clip: TrainingClip) -> bool:
        """Whether all is there for a clip, without a job."""
        return self._cache.file(clip, self.recipe).is_file()

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self.out, 0)  # whose limit the driver holds

    def backbone(self, report: Progress) -> Backbone:
        """The backbone, loaded for the first clip and kept for the next."""
        if self._backbone is None:
            with self.loading(report):
                self.limit_threads()
                self._backbone = Backbone(self.recipe.backbone, self.device())
        return self._backbone


@dataclass
class HeadWork(FeatureWork):
    """Puts sources, of the option `clip`, and composites, the `number` of those of `clips`, into
    the store in `out`.
    """

    _sources: dict[str, Any] = field(default_factory=dict, repr=False, kw_only=True)

    def has(self, clip: TrainingClip) -> bool:
        """Only the store can tell, when it is asked for the source."""
        return False

    def do(self, job: Job, report: Progress) -> Outcome:
        """Compute what is not there."""
        store = Store(self.out)

        def load() -> Backbone:
            return self.backbone(report)

        if "clip" in job.options:
            read_source(job.options["clip"], self.recipe, store, load)
            return Outcome(frames=self.recipe.frames)
        for clip in job.options["clips"]:
            if clip.digest not in self._sources:
                self._sources[clip.digest] = read_source(clip, self.recipe, store, load)
        sources = [self._sources[clip.digest] for clip in job.options["clips"]]
        composite_features(job.options["number"], sources, self.recipe, store, load)
        return Outcome(frames=self.recipe.moving)


def job_of(clip: TrainingClip) -> Job:
    """The job of a clip."""
    return Job(clip.digest, str(clip.path), options={"clip": clip})


def fill(
    jobs: Sequence[Job],
    work: FeatureWork,
    workers: Workers,
    ended: Callable[[Job, Outcome], None],
) -> None:
    """Do all jobs; ended is told of each. The ledger and the logs lie in the cache meanwhile.

    Raises TrainingError where the cache cannot be written, WeightsError where the backbone is not
    there.
    """
    if not jobs:
        return
    try:
        work.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_keep(work.out, error) from error
    with scratch(work.out / "ledger") as place:
        sources = [job.source for job in jobs if job.source]
        workers.do(jobs, work, place, sources=sources, ended=ended)
