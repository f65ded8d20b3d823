"""What became of every video of a batch, a line of JSON a change of state, never rewritten.

    {"at": 1764.2, "video": "dog", "state": "running", "try": 1, "worker": "node3:412"}
    {"at": 1771.9, "video": "dog", "state": "done", "try": 1, "seconds": 7.7, "frames": 60, …}

States: waiting, running, again (a try that failed and is repeated), done, failed. A line that a
dead driver left half written is ignored. In memory a video takes about half a kilobyte.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from unveil.batch.job import Job, Outcome
from unveil.errors import OutputError
from unveil.files import lock_at_once, output_errors

LEDGER = "ledger.jsonl"
_LOCK = ".ledger.lock"


@dataclass(slots=True)
class Entry:
    """What the ledger says of a video. frames: expected until it is done, then counted."""

    source: str = ""
    state: str = "waiting"
    tries: int = 0
    seconds: float = 0.0
    frames: float = 0.0
    scores: tuple[float, ...] = ()
    error: str = ""
    worker: str = ""
    at: float = 0.0


@dataclass
class Book:
    """The ledger read: every video with its last state, and the sums that progress needs.

    began: when the last run began; last: when the last line was written. fresh: frames done since.
    """

    videos: dict[str, Entry] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    run: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    last: float = 0.0
    fresh: int = 0
    frames: float = 0.0
    expected: float = 0.0
    left: float = 0.0

    def take(self, line: dict[str, Any]) -> None:
        """Read one more line."""
        if "found" not in line:  # else no run wrote it
            self.last = float(line.get("at", self.last))
        if "run" in line:
            self.run, self.began, self.fresh = line["run"], self.last, 0
            self.left = 0.0
            for begun in self.videos.values():  # what its driver had begun ended with it
                if begun.state in ("running", "again"):
                    self._move(begun, "waiting")
            return
        entry = self.videos.get(line["video"])
        if entry is None:
            entry = self.videos[line["video"]] = Entry()
            self.states[entry.state] += 1
        state = line["state"]
        self._move(entry, state)
        entry.at = self.last
        if state == "waiting":
            entry.source, entry.frames = line["source"], float(line.get("frames", 0))
            entry.tries, entry.seconds, entry.error, entry.scores = 0, 0.0, "", ()
            self.left += entry.frames
            return
        entry.tries = line.get("try", entry.tries)
        entry.worker = line.get("worker", entry.worker)
        if state in ("done", "failed", "again"):
            entry.seconds += line.get("seconds", 0.0)
            entry.error = line.get("error", "")
        if state in ("done", "failed"):
            self.left = max(0.0, self.left - entry.frames)
        if state == "done":
            self.expected += entry.frames
            self.frames += line["frames"]
            self.fresh += 0 if "found" in line else line["frames"]
            entry.frames, entry.scores = line["frames"], tuple(line.get("scores", ()))

    def _move(self, entry: Entry, state: str) -> None:
        self.states[entry.state] -= 1
        self.states[state] += 1
        entry.state = state

    def rate(self, now: float) -> float:
        """Frames a second since the last run began."""
        return self.fresh / max(now - self.began, 1e-9) if self.fresh else 0.0

    def seconds_left(self, now: float) -> float | None:
        """What is left to do at that rate; None where nothing tells.

        Lengths are guessed until a video is done: the guess is scaled by how it was for those.
        """
        rate = self.rate(now)
        if not rate or not self.expected:
            return None
        return self.left * (self.frames / self.expected) / rate

    @property
    def failed(self) -> dict[str, str]:
        """The videos that failed for good, with why."""
        return {name: e.error for name, e in self.videos.items() if e.state == "failed"}


class Ledger:
    """Writes the ledger of a folder; one driver at a time.

    Each line is handed to the system before `book` counts it, so that kill -9 loses none. Raises
    OutputError where another driver is at work there, or the folder cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LEDGER
        with output_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            lock = lock_at_once(out / _LOCK)
            if lock is None:
                raise OutputError(
                    f"another run writes to {out}: wait for it ('unveil status {out}'), or choose "
                    "another folder with --out"
                )
            self._lock = lock
            self.book = read(out)
            self._file: TextIO = self.path.open("a", encoding="utf-8")
            if not _ends_whole(self.path):
                self._file.write("\n")

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._lock.release()

    def begin(self, jobs: list[Job], run: dict[str, Any]) -> None:
        """A run begins, with these jobs to do."""
        self._write({"run": run})
        for job in jobs:
            about = {"source": job.source, "frames": round(job.frames, 1)}
            self._write({"video": job.name, "state": "waiting", **about}, flush=False)
        self._flush()

    def running(self, job: Job, attempt: int, worker: str = "") -> None:
        """A worker has begun a video."""
        self._write({"video": job.name, "state": "running", "try": attempt, "worker": worker})

    def ended(self, job: Job, attempt: int, outcome: Outcome, again: bool = False) -> None:
        """A try has ended: done, to be made again, or failed for good."""
        line: dict[str, Any] = {"video": job.name, "try": attempt}
        line["seconds"] = round(outcome.seconds, 3)
        if outcome.error:
            line |= {"state": "again" if again else "failed", "error": outcome.error}
        else:
            line |= {"state": "done", "frames": outcome.frames, "scores": list(outcome.scores)}
        self._write(line)

    def found(self, job: Job, outcome: Outcome) -> None:
        """A result is there that no run of this ledger is known to have made."""
        line = {"video": job.name, "found": True}
        about = {"source": job.source, "frames": round(job.frames, 1)}
        self._write({**line, "state": "waiting", **about}, flush=False)
        made = {"frames": outcome.frames, "scores": list(outcome.scores)}
        self._write({**line, "state": "done", **made})

    def _write(self, line: dict[str, Any], flush: bool = True) -> None:
        line = {"at": round(time.time(), 3), **line}
        with output_errors(self.path.parent):
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        if flush:
            self._flush()
        self.book.take(line)

    def _flush(self) -> None:
        with output_errors(self.path.parent):
            self._file.flush()


def read(out: Path) -> Book:
    """The ledger of a folder, an empty one where there is none."""
    book = Book()
    try:
        with (out / LEDGER).open(encoding="utf-8", errors="replace") as file:
            for line in _whole(file):
                book.take(line)
    except FileNotFoundError:
        pass
    return book


def is_running(out: Path) -> bool:
    """Whether a driver of this machine is at work in a folder."""
    if not (out / _LOCK).exists():
        return False
    lock = lock_at_once(out / _LOCK)
    if lock is None:
        return True
    lock.release()
    return False


def _whole(lines: TextIO) -> Iterator[dict[str, Any]]:
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # half of one, where a driver ended
        if isinstance(line, dict) and ("run" in line or {"video", "state"} <= set(line)):
            yield line


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return True
        file.seek(-1, 2)
        return file.read() == b"\n"
