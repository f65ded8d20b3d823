"""Work that does to its process what videos do: end it, hang, eat its memory. Loads no model."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger
from unveil.batch.processes import Processes
from unveil.batch.run import missing, place_of_logs, run
from unveil.batch.segment_work import SegmentWork
from unveil.progress import Progress


def suffer(job: Job) -> None:
    """What happens to the process by the name of the video."""
    if "hang" in job.name:
        time.sleep(600)
    if "hungry" in job.name:
        eaten = []
        while True:
            eaten.append(b"1" * (16 << 20))
            time.sleep(0.01)  # as a decoder would: not faster than anybody can look
    if "crash" in job.name:
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass
class Toy:
    """Writes a folder that says which process made it."""

    out: Path
    seconds: float = 0.0

    def __call__(self, job: Job, report: Progress) -> Outcome:
        if "broken" in job.name:
            return Outcome(error="no frame could be decoded")
        tried = self.out / f"{job.name}.tried"
        with tried.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if "once" in job.name and len(tried.read_text().splitlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if "orphan" in job.name and len(tried.read_text().splitlines()) == 1:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        print(f"seen {job.name}", flush=True)
        suffer(job)
        report("backbone", 1, 2)
        time.sleep(self.seconds)
        folder = self.out / job.name
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"pid": os.getpid()}))
        return Outcome(frames=10, height=4, width=6, scores=(0.5, 0.25))


class Sabotaged(SegmentWork):
    """The real work, save for the videos that hang and eat."""

    def do(self, job: Job, report: Progress) -> Outcome:
        suffer(job)
        return super().do(job, report)


class Disk(LocalFileSystem):
    """A storage that all processes reach: this machine's disk, under disk:// addresses."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + str(path).removeprefix("disk://").strip("/")

    def unstrip_protocol(self, name: str) -> str:
        return f"disk://{name.lstrip('/')}"


fsspec.register_implementation("disk", Disk, clobber=True)


class Stored(SegmentWork):
    """The real work, where that storage is known."""


def named(*names: str, frames: float = 5.0) -> list[Job]:
    return [Job(name, f"/videos/{name}.mp4", frames=frames) for name in names]


def do_all(out: Path, jobs: list[Job], count: int = 2, work=None, **limits) -> list[str]:
    """Run jobs to their end; the names in the order in which they ended."""
    order: list[str] = []
    with Ledger(out) as ledger:
        todo, _ = missing(jobs, ledger, resume=True)
        ledger.begin(todo, {})
        crew = Processes(count, work or Toy(out), Limits(**limits), place_of_logs(out))
        try:
            run(todo, crew, ledger, Limits(**limits), lambda j, o: order.append(j.name), id)
        finally:
            crew.close()
    return order
