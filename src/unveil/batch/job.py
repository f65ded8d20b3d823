"""One video of a batch, what became of it, and what it may cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unveil.errors import InputError, UnveilError


@dataclass(frozen=True)
class Job:
    """A video that is to be segmented, or what else is done with one thing after the other.

    name: of its folder in the batch's, and of its log. source: what `open_video` opens. start, end
    (seconds) and stride: as it takes them. frames: about how many it has. options: settings of its
    own, and whatever else a kind of work has to know.
    """

    name: str
    source: str
    start: float | None = None
    end: float | None = None
    stride: int = 1
    frames: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def span(self) -> dict[str, Any]:
        """What `open_video` takes beside the source."""
        return {"start": self.start, "end": self.end, "stride": self.stride}


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    error: why there is no result, empty where there is one. again: another try may do better.
    fatal: the error that every other job would end with too. seconds: it took in all. result: what
    is handed back beside what was written.
    """

    frames: int = 0
    height: int = 0
    width: int = 0
    scores: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    again: bool = False
    fatal: type[UnveilError] | None = None
    seconds: float = 0.0
    result: Any = None


@dataclass(frozen=True)
class Limits:
    """What one video may cost. Raises InputError for values that make no sense.

    seconds: of a try, without the loading of the model. memory: MB that its process may hold.
    tries: how often a video may be begun when its process dies, hangs or grows too large.
    """

    seconds: float | None = None
    memory: int | None = None
    tries: int = 3

    def __post_init__(self) -> None:
        for name, value in (("timeout", self.seconds), ("memory", self.memory)):
            if value is not None and not value > 0:
                raise InputError(f"--{name}: expected more than 0, got {value:g}")
        if self.tries < 1:
            raise InputError(f"--tries: expected at least 1, got {self.tries}")
