"""Workers on this machine: a thread a process, that gives it work and watches it."""

import queue
import threading
from dataclasses import replace
from pathlib import Path

from unveil.batch.crew import Task
from unveil.batch.job import Limits, Outcome
from unveil.batch.work import Work
from unveil.batch.worker import DoesWork, Worker


class Processes:
    """So many processes of this machine."""

    def __init__(self, count: int, work: DoesWork, limits: Limits, logs: Path) -> None:
        self._logs = logs
        self._given: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[Task, Outcome]] = queue.SimpleQueue()
        self._busy, self._count = 0, count
        self._seen: dict[str, int] = {}
        own = [replace(work, number=i) if isinstance(work, Work) else work for i in range(count)]
        self._workers = [Worker(one, limits) for one in own]
        self._threads = [
            threading.Thread(target=self._serve, args=(w,), name="unveil-crew", daemon=True)
            for w in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def free(self) -> int:
        """How many have nothing to do."""
        return self._count - self._busy

    def give(self, task: Task) -> str:
        """Give a task to one that is free."""
        self._busy += 1
        self._given.put(task)
        return "this machine"

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, waiting so long for the first."""
        ended = []
        try:
            ended.append(self._ended.get(timeout=seconds))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            self._busy -= len(ended)
            return ended

    def underway(self) -> int:
        """Frames that are seen already of videos that are not done."""
        return sum(list(self._seen.values()))

    def close(self) -> None:
        """End all processes, and what they are at."""
        idle = self._busy == 0
        for _ in self._threads:
            self._given.put(None)
        for worker in self._workers:
            if not idle:
                worker.stop()
        for thread in self._threads:
            thread.join(30)

    def _serve(self, worker: Worker) -> None:
        while (task := self._given.get()) is not None:
            self._ended.put((task, self._run(worker, task)))
        worker.close()

    def _run(self, worker: Worker, task: Task) -> Outcome:
        name = task.job.name

        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "backbone":
                self._seen[name] = done

        try:
            return worker.run(task.job, self._logs / f"{name}.log", report)
        except Exception as error:  # a thread that ended would leave its task for ever
            why = f"the worker could not be run: {type(error).__name__}: {error}"
            return Outcome(error=why, again=True)
        finally:
            self._seen.pop(name, None)
