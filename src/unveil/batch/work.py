"""What a worker does with one video: read it, find its objects, write them.

    work = Work(out=Path("out"), settings=Settings())
    outcome = work(job, report)

It is made by the driver and carried out by another process, which keeps its model for the next.
"""

import copy
import json
import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unveil.address import as_address
from unveil.batch.job import Job, Outcome
from unveil.errors import NO_MEMORY, UnveilError, WeightsError, is_out_of_memory
from unveil.progress import Progress
from unveil.settings import Settings

log = logging.getLogger(__name__)

LOADING = "loading the backbone"
"""The stage that no limit of time counts."""


@dataclass
class Work:
    """Segments videos into folders of `out`, all with one model.

    address: of a storage that results are put in, one folder a video; `out` is scratch then.
    again: also where it has a result already. scratch: where sources lie that have to be fetched.
    threads: of a processor that a worker may use; all by default. number: which of the workers
    this one is; on a machine with several GPUs each takes its own.
    """

    out: Path
    settings: Settings = field(default_factory=Settings)
    threads: int | None = None
    number: int = 0
    address: str | None = None
    again: bool = False
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "unveil-fetched")
    _segmenter: Any = field(default=None, repr=False)
    _loading: bool = field(default=False, repr=False)

    def __call__(self, job: Job, report: Progress) -> Outcome:
        """Segment one video. Whatever goes wrong with it is in the outcome."""
        try:
            return self.segment(job, report)
        except Exception as error:
            traceback.print_exc()  # into the video's log
            known = isinstance(error, UnveilError)
            what = str(error) if known else unforeseen(error)
            # What the model cannot be loaded for ends every other video too.
            fatal = isinstance(error, WeightsError) or (known and self._loading)
            return Outcome(error=what, again=not known, fatal=fatal)

    def segment(self, job: Job, report: Progress) -> Outcome:
        """Segment one video. Raises what `open_video` and `Segmenter.segment_to` raise."""
        if self._segmenter is None:
            report(LOADING, 0, None)
        self._limit_threads()
        self._check()

        from unveil.batch import storage

        if not self.again and self.address and storage.exists(f"{self.address}/{job.name}"):
            return _outcome(storage.read_run(f"{self.address}/{job.name}"), ())
        if (address := as_address(job.source)) is None:
            return self._segment(job, job.source, report)
        report("fetching", 0, None)
        with storage.fetched(address, self.scratch) as file:
            return self._segment(job, str(file), report)

    def _segment(self, job: Job, source: str, report: Progress) -> Outcome:
        from unveil.batch import storage
        from unveil.video.source import open_video

        report("opening", 0, None)
        open_video(source, **job.span)  # before seconds are spent on a model
        segmenter = copy.copy(self._loaded(report))
        segmenter.settings = replace(segmenter.settings, **job.options)
        folder = self.out / job.name
        run = segmenter.segment_to(source, folder, on_progress=report, **job.span)
        if source != job.source:
            storage.name_source(folder, job.source)
        outcome = _outcome(run, _scores(folder))
        if self.address is not None:
            report("storing", 0, None)
            storage.store(folder, f"{self.address}/{job.name}")
            shutil.rmtree(folder)
        return outcome

    def _check(self) -> None:
        """Miss what the model cannot be loaded without before a video is fetched."""
        if self._segmenter is None:
            from unveil.segmentation.preconditions import check_settings  # seconds by itself

            self._loading = True
            check_settings(replace(self.settings, device=self._device()))
            self._loading = False

    def _limit_threads(self) -> None:
        if self.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)  # read when torch is imported
            import torch

            if torch.get_num_threads() != self.threads:
                torch.set_num_threads(self.threads)

    def _loaded(self, report: Progress) -> Any:
        if self._segmenter is None:
            report(LOADING, 0, None)
            from unveil.segmentation.segmenter import Segmenter  # seconds by itself

            self._loading = True
            self._segmenter = Segmenter(replace(self.settings, device=self._device()))
            self._loading = False
            report("opening", 0, None)
        return self._segmenter

    def _device(self) -> str | None:
        """The device of this worker: its own GPU, where there are several."""
        if self.settings.device not in (None, "cuda"):
            return self.settings.device
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return f"cuda:{self.number % count}" if count > 1 else self.settings.device


def unforeseen(error: BaseException) -> str:
    """What to say of an error that Unveil does not raise on purpose."""
    if is_out_of_memory(error):
        return NO_MEMORY
    return f"{type(error).__name__}: {error}; this is a fault of Unveil, please report it"


def _outcome(run: Mapping[str, Any], scores: tuple[float, ...]) -> Outcome:
    video = run["video"]
    return Outcome(
        frames=video["frames"],
        height=video["height"],
        width=video["width"],
        scores=scores,
        warnings=tuple(run["warnings"]),
    )


def _scores(folder: Path) -> tuple[float, ...]:
    found = json.loads((folder / "objects.json").read_text(encoding="utf-8"))["annotations"]
    return tuple(thing["score"] for thing in found)
