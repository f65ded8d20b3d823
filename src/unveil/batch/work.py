"""What a worker does with one job after the other, wherever it is: the base of all kinds of work.

It is made by the driver and carried out by another process, which keeps what it loads for the next.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from unveil.batch.job import Job, Outcome
from unveil.errors import UnveilError, WeightsError, unforeseen
from unveil.progress import Progress

log = logging.getLogger(__name__)

LOADING = "loading the backbone"
"""The stage that no limit of time counts."""


@dataclass
class Work:
    """Does jobs: what a kind of work does is its `do`.

    out: the folder of what is made. threads: of a processor that a worker may use; all by default.
    number: which of the workers this one is; on a machine with several GPUs each takes its own.
    address: of a storage that results are put in; `out` is scratch then.
    """

    out: Path
    threads: int | None = field(default=None, kw_only=True)
    number: int = field(default=0, kw_only=True)
    address: str | None = field(default=None, kw_only=True)
    _loading: bool = field(default=False, repr=False, kw_only=True)
    FATAL: ClassVar[tuple[type[UnveilError], ...]] = (WeightsError,)
    """Errors that every other job would end with too."""

    def __call__(self, job: Job, report: Progress) -> Outcome:
        """Do a job. Whatever goes wrong with it is in the outcome."""
        try:
            return self.do(job, report)
        except UnveilError as error:
            log.info("%s", error, exc_info=True)  # into the job's log
            # What the model cannot be loaded for ends every other job too.
            loading, self._loading = self._loading, False
            fatal = type(error) if loading or isinstance(error, self.FATAL) else None
            return Outcome(error=str(error), fatal=fatal)
        except Exception as error:  # one job must not end the others
            log.exception("%s", job.source)
            return Outcome(error=unforeseen(error), again=True)

    def do(self, job: Job, report: Progress) -> Outcome:
        """Do a job; raises what is wrong with it."""
        raise NotImplementedError

    @contextmanager
    def loading(self, report: Progress) -> Iterator[None]:
        """A model is loaded in this block, without which no job can be done."""
        report(LOADING, 0, None)
        self._loading = True
        yield
        self._loading = False

    @property
    def wished(self) -> str | None:
        """The device that it is for; None: the best there is."""
        return "cpu"

    def device(self) -> str | None:
        """The device of this worker: its own GPU, where there are several."""
        if self.wished not in (None, "cuda"):
            return self.wished
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return f"cuda:{self.number % count}" if count > 1 else self.wished

    def limit_threads(self) -> None:
        """Keep torch to its share of the processor."""
        if self.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)  # read when torch is imported
            import torch

            if torch.get_num_threads() != self.threads:
                torch.set_num_threads(self.threads)
