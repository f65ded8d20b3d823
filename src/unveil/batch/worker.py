"""A process that does one job after the other, watched from outside: time, memory, death.

    worker = Worker(work, Limits(seconds=600, memory=4000))
    outcome = worker.run(job, log)        # in a thread, or in an actor on another machine

Whatever a video does to the process (it ends it, it never comes back, it eats its memory), it is
the outcome of that video alone: the process is ended and the next job gets a new one.
"""

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import psutil

from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.work import LOADING
from unveil.files import sweep
from unveil.progress import Progress, silent

LOOK = 0.1
"""Seconds between looks at a process: what it may exceed its limits by."""
# A forked child may hang on the threads of its parent's libraries; a spawned one cannot.
_CONTEXT = multiprocessing.get_context("spawn")
_ENDED = "stopped"


@runtime_checkable
class DoesWork(Protocol):
    """What a process does with a job; it is sent there once, and keeps what it loads."""

    out: Path

    def __call__(self, job: Job, report: Progress) -> Outcome:
        """Do a job; its faults are in the outcome."""
        ...


class Worker:
    """One process, started when there is something to do, and again after it died.

    work: what it does. limits: of each job. Not for two threads at once, save `stop`.
    """

    def __init__(self, work: DoesWork, limits: Limits) -> None:
        self._work, self._limits = work, limits
        self._process: Any = None
        self._pipe: Connection | None = None
        self._stopped = threading.Event()

    def run(self, job: Job, log: Path, report: Progress = silent) -> Outcome:
        """Do a job to whatever end it comes. log: what it prints is appended to this file."""
        began = time.monotonic()
        outcome = self._watched(job, log, report)
        if outcome.error:
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{_now()} {outcome.error}\n")
        return replace(outcome, seconds=time.monotonic() - began)

    def stop(self) -> None:
        """End the process at once, and start none any more."""
        self._stopped.set()
        self._end()

    def close(self) -> None:
        """Let the process end."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(2)
        self.stop()

    def _watched(self, job: Job, log: Path, report: Progress) -> Outcome:
        if self._stopped.is_set():
            return Outcome(error=_ENDED)
        try:
            pipe = self._started()
            pipe.send((job, log))
        except OSError as error:  # it died while it waited
            return self._died(job, f"the worker could not be reached ({error})")
        seconds, since = self._limits.seconds, time.monotonic()
        loading = True  # the process itself, until it says something
        while True:
            try:
                if pipe.poll(LOOK):
                    said = pipe.recv()
                    if isinstance(said, Outcome):
                        return said
                    report(*said)
                    if loading or said[0] == LOADING:
                        since, loading = time.monotonic(), said[0] == LOADING
            except (EOFError, OSError):
                return self._died(job, self._how())
            if self._stopped.is_set():
                return self._died(job, _ENDED)
            if seconds is not None and not loading and time.monotonic() - since > seconds:
                return self._died(
                    job, f"not done after {seconds:g} s and stopped: give more with --timeout"
                )
            held = self._memory()
            if self._limits.memory is not None and held > self._limits.memory:
                return self._died(
                    job,
                    f"held {held} MB and was stopped at its limit of {self._limits.memory}: give "
                    "more with --memory, or less to do with a smaller --size or --chunk",
                )

    def _started(self) -> Connection:
        if self._process is None or not self._process.is_alive() or self._pipe is None:
            self._end()
            mine, its = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(
                target=serve, args=(its, self._work), name="unveil-worker", daemon=True
            )
            self._process.start()
            its.close()
            self._pipe = mine
        return self._pipe

    def _died(self, job: Job, why: str) -> Outcome:
        """End what is left of the process, and remove what it had half written."""
        self._end()
        sweep(self._work.out / job.name)
        return Outcome(error=why, again=True)

    def _how(self) -> str:
        """How a process ended by itself."""
        self._process.join(5)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"its process ended with code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        out_of_memory = ", perhaps by the system for want of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{out_of_memory}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()

    def _memory(self) -> int:
        """MB that the process holds."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss >> 20
        except (psutil.Error, AttributeError):
            return 0


def serve(pipe: Connection, work: Callable[[Job, Progress], Outcome]) -> None:
    """What the process does: jobs from a pipe, until its other end is closed or its parent gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which then ends us
    _end_with_parent()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    faulthandler.enable()
    while True:
        try:
            job, log = pipe.recv()
        except EOFError:
            return
        with _printed_to(log):
            pipe.send(("begun", 0, None))
            print(f"{_now()} {job.source}, process {os.getpid()}", file=sys.stderr, flush=True)
            outcome = work(job, lambda *stage: pipe.send(stage[:3]))
        pipe.send(outcome)


def _end_with_parent() -> None:
    """End at once when the driver is gone, also by kill -9: the next one would do the same job."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="unveil-parent", daemon=True).start()


@contextlib.contextmanager
def _printed_to(log: Path) -> Iterator[None]:
    """All that is printed in the block, by libraries in C too, appended to a file."""
    kept = [os.dup(fd) for fd in (1, 2)]
    with log.open("ab") as file:
        for fd in (1, 2):
            os.dup2(file.fileno(), fd)
    try:
        yield
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        for fd, old in zip((1, 2), kept, strict=True):
            os.dup2(old, fd)
            os.close(old)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
