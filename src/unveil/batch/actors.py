"""Workers of a Ray cluster: actors, each of which watches a process of its node.

    with joined("auto"):
        crew = Actors(work, limits, logs, most=40)

What a video does to its process is seen by the actor, as on one machine. An actor that is lost with
its node is replaced where the cluster has room, and its video tried again.
"""

import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unveil.batch.crew import Task
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.work import Work
from unveil.batch.worker import DoesWork, Worker
from unveil.errors import InputError

log = logging.getLogger(__name__)

LOCAL = "local"
"""The address that stands for a Ray that is started here, and ends with the run."""
SILENT = 120.0
"""Seconds without an answer after which an actor is given up, though its node lives."""
_REFILL = 5.0  # seconds between looks at what room the cluster has
_LONELY = 30.0  # seconds without a worker after which it is said that all wait
_STARTS = 3  # times that something cannot be started, one after the other, before it is an error
_KNOCK = 10.0  # seconds that a head may take to answer
_LOG = 1 << 20  # bytes of a log that a node without the shared folder hands back
_STORE = 100 << 20  # bytes of the object store of a Ray of one's own: nothing goes through it
_ADDRESS = re.compile(r"auto|local|(ray://)?[^\s/:]+:\d+|(ray://)?\[[0-9a-fA-F:]+\]:\d+")


@contextmanager
def joined(address: str, jobs: int | None = None) -> Iterator[str]:
    """Be a driver of a cluster for as long as the block runs; gives what it is, in words.

    address: host:port, ray://host:port, `auto` for the cluster that this machine is part of,
    `local` for one that is started here, with so many cores as jobs at least. Raises InputError
    where Ray is not installed, or there is no cluster.
    """
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            f"--ray {address}: expected host:port, ray://host:port, auto for the cluster of this "
            "machine, or nothing for one that is started here; sources come before --ray"
        )
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray: pip install 'unveil[ray]'") from error
    if ray.is_initialized():
        yield _in_words(None)
        return
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        # Nobody was asked whether Ray may report on it, and its workers are all there is to do.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
        how |= {"num_cpus": max(_cores(), jobs or 1), "object_store_memory": _STORE}
    else:
        _knock(address)
    for attempt in range(_STARTS):
        try:
            context = ray.init(address=address, **how)
            break
        except Exception as error:  # of many kinds, some of them plain Exceptions
            ray.shutdown()
            # Ray gives its processes 15 seconds to begin, which a busy machine may not keep.
            if address != LOCAL or attempt + 1 == _STARTS:
                where = "Ray cannot be started here" if address == LOCAL else "no cluster there"
                raise InputError(f"--ray {address}: {where}: {_first_line(error)}") from error
    try:
        yield _in_words(getattr(context, "dashboard_url", None))
    finally:
        ray.shutdown()


def seats(device: str | None) -> int:
    """How many workers the cluster has room for: as many as it has GPUs, or else cores."""
    nodes = _nodes()
    kind = _kind(nodes, device)
    return max(1, sum(int(node.get(kind, 0)) for node in nodes))


class Foreman:
    """What an actor is: one worker on its node.

    logs: a folder that the driver sees too; None where nodes share no disk: then results, before
    they are put at their address, and logs are in a folder of the node, and logs are handed back.
    """

    def __init__(self, work: Any, limits: Limits, logs: Path | None) -> None:
        self._shared = logs is not None
        if logs is None:
            place = Path(tempfile.gettempdir()) / "unveil-batches" / work.out.name
            work, logs = replace(work, out=place), place / "logs"
            logs.mkdir(parents=True, exist_ok=True)
        self._worker, self._logs, self._seen = Worker(work, limits), logs, 0

    def arrive(self, paths: Sequence[Path]) -> tuple[str, str, list[Path]]:
        """The node that it is on, the version of Unveil there, and paths that are not there."""
        import platform
        from importlib.metadata import version

        return platform.node(), version("unveil"), [p for p in paths if not p.exists()]

    def run(self, job: Job) -> tuple[Outcome, bytes]:
        """Do a job to whatever end it comes; with its log, where the driver cannot see that."""
        file = self._logs / f"{job.name}.log"
        try:
            outcome = self._worker.run(job, file, self._report)
            return outcome, b"" if self._shared else file.read_bytes()[-_LOG:]
        finally:
            self._seen = 0
            if not self._shared:
                file.unlink(missing_ok=True)

    def underway(self) -> int:
        """Frames seen of the video that it is at."""
        return self._seen

    def stop(self) -> None:
        """End its process, and what that is at."""
        self._worker.stop()

    def _report(self, stage: str, done: int, total: int | None) -> None:
        if stage == "backbone":
            self._seen = done


@dataclass
class _Hand:
    """An actor as the driver knows it. asked: a question that it has not answered yet."""

    actor: Any
    node: str = ""
    asked: Any = None
    heard: float = 0.0
    seen: int = 0


class Actors:
    """Workers of the cluster that this process has joined, a `Crew`.

    most: workers that there is something to do for. jobs: so many at most, and cores for each that
    they share; by default as many as there are GPUs, or else cores. logs: their folder, and
    sources: files that the driver sees, both of which all nodes have to see. Raises InputError,
    from `wait`, where one does not, or has another version of Unveil.
    """

    def __init__(
        self,
        work: DoesWork,
        limits: Limits,
        logs: Path,
        *,
        most: int,
        jobs: int | None = None,
        sources: Sequence[Path] = (),
    ) -> None:
        import ray

        self._ray, self._logs, self._jobs, self._most = ray, logs, jobs, most
        self._away = isinstance(work, Work) and work.address is not None
        self._paths = [*([] if self._away else [logs]), *sources[:1]]
        self._device = work.wished if isinstance(work, Work) else None
        how = _claim(self._device, jobs)
        if isinstance(work, Work):
            work = replace(work, threads=max(1, how["num_cpus"]))
        if limits.memory is not None:  # so that a node is not given more than it can hold
            how["memory"] = limits.memory << 20
        # Calls at once: one that works, one that asks how far it is, one that stops it.
        kind = ray.remote(max_concurrency=3, scheduling_strategy="SPREAD", **how)(Foreman)
        self._begin = lambda: kind.remote(work, limits, None if self._away else logs)
        self._starting: dict[Any, _Hand] = {}
        self._idle: list[_Hand] = []
        self._busy: dict[Any, tuple[_Hand, Task]] = {}
        self._failures, self._filled, self._met = 0, 0.0, time.monotonic()
        self._fill()

    def free(self) -> int:
        """How many have nothing to do."""
        return len(self._idle)

    def give(self, task: Task) -> str:
        """Give a task to one that is free; returns its node."""
        hand = self._idle.pop()
        hand.asked, hand.heard, hand.seen = None, time.monotonic(), 0
        self._busy[hand.actor.run.remote(task.job)] = hand, task
        return hand.node

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, waiting so long for the first."""
        self._fill()
        pending = [*self._starting, *self._busy]
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        ended = []
        for ref in ready:
            if ref in self._starting:
                self._started(ref, self._starting.pop(ref))
            else:
                hand, task = self._busy.pop(ref)
                ended.append((task, self._ended(ref, hand, task)))
        return ended

    def underway(self) -> int:
        """Frames that are seen already of videos that are not done."""
        now = time.monotonic()
        for hand, _ in self._busy.values():
            if hand.asked is None:
                hand.asked = hand.actor.underway.remote()
            elif self._ray.wait([hand.asked], timeout=0)[0]:
                try:
                    hand.seen, hand.heard = self._ray.get(hand.asked), now
                except self._ray.exceptions.RayError:
                    continue  # its end is told by `wait`
                hand.asked = None
            elif now - hand.heard > SILENT:
                self._ray.kill(hand.actor)  # which ends its task
        return sum(hand.seen for hand, _ in self._busy.values())

    def close(self) -> None:
        """End all actors, and what they are at."""
        hands = [*self._idle, *(hand for hand, _ in self._busy.values())]
        stopped = [hand.actor.stop.remote() for hand in hands]
        if stopped:
            self._ray.wait(stopped, num_returns=len(stopped), timeout=10)
        for hand in (*hands, *self._starting.values()):
            self._ray.kill(hand.actor)
        self._idle, self._busy, self._starting = [], {}, {}

    def _fill(self) -> None:
        """Start actors where there is room: at first, where one was lost, where a node came."""
        now = time.monotonic()
        if now - self._filled < _REFILL and self._filled:
            return
        self._filled = now
        there = len(self._starting) + len(self._idle) + len(self._busy)
        for _ in range(min(self._most, self._jobs or seats(self._device)) - there):
            actor = self._begin()
            self._starting[actor.arrive.remote(self._paths)] = _Hand(actor)
        if self._idle or self._busy:
            self._met = now
        elif now - self._met > _LONELY:
            self._met = now
            log.warning(
                "no node of the cluster has room for a worker yet ('ray status' tells what it "
                "has): waiting for one"
            )

    def _started(self, ref: Any, hand: _Hand) -> None:
        try:
            hand.node, version, missing = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._failures += 1  # its node was lost, or will do the same to the next
            if self._failures == _STARTS:
                raise InputError(
                    f"no worker can be started on the cluster: {_last_line(error)}; Unveil has to "
                    "be installed on every node"
                ) from error
            self._filled = 0.0
            return
        from importlib.metadata import version as version_of

        if version != (mine := version_of("unveil")):
            raise InputError(
                f"{hand.node} has version {version} of Unveil and this machine {mine}: install "
                "the same on every node, for results to be the same"
            )
        if missing:
            raise InputError(
                f"{hand.node} does not see {missing[0]}: sources and --out have to be on a disk "
                "that all nodes of the cluster share, or at addresses (s3://, gs://, …)"
            )
        self._failures = 0
        self._idle.append(hand)

    def _ended(self, ref: Any, hand: _Hand, task: Task) -> Outcome:
        try:
            outcome, printed = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(hand.actor)
            self._filled = 0.0
            why = f"its worker on {hand.node} was lost ({_first_line(error)})"
            return Outcome(error=why, again=True)
        if printed:
            with (self._logs / f"{task.job.name}.log").open("ab") as file:
                file.write(printed)
        self._idle.append(hand)
        return outcome


def _claim(device: str | None, jobs: int | None) -> dict[str, Any]:
    """What one worker takes of a node: a GPU, or a core, or its share of all cores."""
    nodes = _nodes()
    if _kind(nodes, device) == "GPU":
        shares = [int(n.get("CPU", 0)) // int(n["GPU"]) for n in nodes if n.get("GPU", 0) >= 1]
        return {"num_gpus": 1, "num_cpus": max(1, min(shares, default=1))}
    cores = [int(node.get("CPU", 0)) for node in nodes]
    share = sum(cores) // jobs if jobs else 1
    return {"num_cpus": max(1, min(share, max(cores, default=1)))}


def _kind(nodes: Sequence[dict[str, Any]], device: str | None) -> str:
    return "GPU" if device != "cpu" and any(node.get("GPU") for node in nodes) else "CPU"


def _nodes() -> list[dict[str, Any]]:
    """What the nodes that live have."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _knock(address: str) -> None:
    """Raise InputError where nobody listens at host:port; Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host:  # auto
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: no cluster there: {error}") from error


def _in_words(dashboard: str | None) -> str:
    nodes = _nodes()
    cores, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    words = f"{len(nodes)} nodes, {cores} cores" if len(nodes) > 1 else f"{cores} cores"
    words += f", {gpus} GPUs" if gpus else ""
    return words + (f"; dashboard at http://{dashboard}" if dashboard else "")


def _cores() -> int:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return here or 1


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".:") if lines else type(error).__name__
