"""What a worker does with one video: read it, find its objects, write them.

work = SegmentWork(Path("out"), Settings())
outcome = work(job, report)
"""

import copy
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unveil.address import as_address
from unveil.batch.job import Job, Outcome
from unveil.batch.storage import place_of_fetched
from unveil.batch.there import other_source, outcome_of, taken
from unveil.batch.work import Work
from unveil.errors import InputError
from unveil.progress import Progress
from unveil.settings import Settings


@dataclass
class SegmentWork(Work):
    """Segments videos into folders of `out`, all with one model.

    again: also where it has a result already. scratch: where sources lie that have to be fetched.
    """

    settings: Settings = field(default_factory=Settings)
    again: bool = field(default=False, kw_only=True)
    scratch: Path = field(default_factory=place_of_fetched, kw_only=True)
    _segmenter: Any = field(default=None, repr=False, kw_only=True)

    @property
    def wished(self) -> str | None:
        """The device of the settings."""
        return self.settings.device

    def do(self, job: Job, report: Progress) -> Outcome:
        """Segment one video. Raises what `open_video` and `Segmenter.segment_to` raise."""
        self.check(report)
        from unveil.batch import storage

        if not self.again and self.address and storage.exists(f"{self.address}/{job.name}"):
            run = storage.read_run(f"{self.address}/{job.name}")
            if (other := other_source(job, run)) is not None:
                raise InputError(taken(job, self.address, other))
            return outcome_of(run)
        if (address := as_address(job.source)) is None:
            return self._segment(job, job.source, report)
        report("fetching", 0, None)
        with storage.fetched(address, self.scratch) as file:
            return self._segment(job, str(file), report)

    def check(self, report: Progress) -> None:
        """Miss what the model cannot be loaded without before a video is fetched."""
        if self._segmenter is None:
            with self.loading(report):
                self.limit_threads()
                from unveil.segmentation.preconditions import check_settings  # seconds by itself

                check_settings(replace(self.settings, device=self.device()))

    def segmenter(self, report: Progress) -> Any:
        """The model, loaded for the first job and kept for the next."""
        if self._segmenter is None:
            with self.loading(report):
                self.limit_threads()
                from unveil.segmentation.segmenter import Segmenter  # seconds by itself

                self._segmenter = Segmenter(replace(self.settings, device=self.device()))
            report("opening", 0, None)
        return self._segmenter

    def _segment(self, job: Job, source: str, report: Progress) -> Outcome:
        from unveil.batch import storage
        from unveil.video.source import open_video

        report("opening", 0, None)
        open_video(source, **job.span)  # before seconds are spent on a model
        segmenter = copy.copy(self.segmenter(report))
        segmenter.settings = replace(segmenter.settings, **job.options)
        folder = self.out / job.name
        run = segmenter.segment_to(source, folder, on_progress=report, **job.span)
        if source != job.source:
            storage.name_source(folder, job.source)
        outcome = outcome_of(run, folder)
        if self.address is not None:
            report("storing", 0, None)
            storage.store(folder, f"{self.address}/{job.name}")
            shutil.rmtree(folder)
        return outcome
