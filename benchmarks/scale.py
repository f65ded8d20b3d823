"""How far a batch grows: videos a second over workers, and what 100,000 videos cost the driver.

    python benchmarks/scale.py

The scheduler, the ledger and the pages are the real ones; workers are simulated: a video takes
`--seconds`, give or take half, on a clock that jumps. What is timed is what the driver itself
needs, in CPU seconds, so that others on the machine do not count: its rate is at most one over
that.
"""

import argparse
import heapq
import random
import tempfile
import time
from pathlib import Path

from unveil.batch.crew import Task
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger, read
from unveil.batch.page import write_index
from unveil.batch.run import missing, run
from unveil.timing import peak_memory_mb


class Simulated:
    """A `Crew` on a clock of its own; one in a hundred tries dies.

    store: seconds of a shared storage that takes one result at a time.
    """

    def __init__(self, count: int, seconds: float, store: float) -> None:
        self.count, self.seconds, self.store = count, seconds, store
        self.now, self.stored, self.driver = 0.0, 0.0, 0.0
        self.at: list[tuple[float, int, Task]] = []
        self.random, self.number = random.Random(0), 0
        self.real = time.process_time()

    def free(self) -> int:
        """How many have nothing to do."""
        return self.count - len(self.at)

    def give(self, task: Task) -> str:
        """Begin a task, and give its node."""
        self.number += 1
        took = self.seconds * self.random.uniform(0.5, 1.5)
        heapq.heappush(self.at, (self._clock() + took, self.number, task))
        return f"node{self.number % self.count}"

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """The next that ends."""
        ready, _, task = heapq.heappop(self.at)
        self.stored = max(self.stored, ready) + self.store
        self.now = max(self._clock(), self.stored)
        self.real = time.process_time()
        died = self.random.random() < 0.01
        return [(task, Outcome(error="died", again=True) if died else Outcome(50, scores=(0.9,)))]

    def underway(self) -> int:
        """Nothing is told before its end."""
        return 0

    def close(self) -> None:
        """Nothing to end."""

    def _clock(self) -> float:
        """The simulated time: what workers took, and what the driver really took since."""
        spent, self.real = time.process_time() - self.real, time.process_time()
        self.now, self.driver = self.now + spent, self.driver + spent
        return self.now


def simulate(videos: int, workers: int, seconds: float, store: float) -> tuple[float, float]:
    """Simulated videos a second, and the driver's own seconds a video."""
    jobs = [Job(f"video{i:06d}", f"s3://b/{i}.mp4", frames=50.0) for i in range(videos)]
    with tempfile.TemporaryDirectory() as out, Ledger(Path(out)) as ledger:
        ledger.begin(jobs, {})
        crew = Simulated(workers, seconds, store)
        run(jobs, crew, ledger, Limits(), lambda job, outcome: None, lambda frames: None)
        return videos / crew.now, crew.driver / videos


def memory_mb() -> float:
    return float(peak_memory_mb() or 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="of a video on one worker")
    parser.add_argument("--store", type=float, default=0.0, help="of a result, one at a time")
    parser.add_argument("--videos", type=int, default=100_000)
    args = parser.parse_args()

    print("| workers | videos a second | of ideal | driver ms a video |\n|---|---|---|---|")
    for workers in (1, 2, 4, 8, 16, 32, 64):
        rate, own = simulate(40 * workers, workers, args.seconds, args.store)
        ideal = workers / args.seconds
        print(f"| {workers} | {rate:.3f} | {rate / ideal:.2f} | {own * 1000:.2f} |", flush=True)

    before, began = memory_mb(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        jobs = [
            Job(f"video{i:06d}", f"s3://bucket/folder/{i}.mp4", frames=50.0)
            for i in range(args.videos)
        ]
        with Ledger(out) as ledger:
            ledger.begin(jobs, {})
            crew = Simulated(64, args.seconds, 0.0)
            run(jobs, crew, ledger, Limits(), lambda job, outcome: None, lambda frames: None)
            todo, _ = missing(jobs, ledger, resume=True, elsewhere=True)
        took = time.process_time() - began
        size = (out / "ledger.jsonl").stat().st_size >> 20
        began = time.process_time()
        book = read(out)
        again = time.process_time() - began
        began = time.process_time()
        write_index(out, book)
        pages = time.process_time() - began
    print(
        f"\n{args.videos:,} videos: {took:.1f} CPU s of driver, {took / args.videos * 1000:.2f} ms "
        f"a video; ledger {size} MB, read again in {again:.1f} s; pages {pages:.1f} s; "
        f"{len(todo)} missing; driver at most {memory_mb():.0f} MB, {before:.0f} MB before"
    )


if __name__ == "__main__":
    main()
