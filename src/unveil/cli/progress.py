"""How far work is: bars on a terminal, a line every ten seconds where there is none."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class Show(Protocol):
    """Told how far a stage is; it can stand wherever an `unveil.progress.Progress` can."""

    def __call__(self, stage: str, done: int, total: int | None, words: str = "") -> None:
        """done of total (None where nobody knows), and words on what is being done."""
        ...


@dataclass
class Stage:
    """How far a stage is. began: seconds of the clock when it was first heard of. before: what was
    done by then, such as the steps of a training that goes on."""

    name: str
    began: float
    before: int = 0
    done: int = 0
    total: int | None = None
    words: str = ""

    def times(self, now: float) -> str:
        """What it took so far, and at that rate is still to come."""
        gone = now - self.began
        text = f"{clock(gone)} gone"
        if self.total is not None and self.before < self.done < self.total:
            rate = gone / (self.done - self.before)
            text += f", about {clock(rate * (self.total - self.done))} left"
        return text

    def line(self, title: str, now: float) -> str:
        """All that is known, in a line."""
        count = "" if self.total is None and not self.done else f" {self.done}"
        if self.total is not None:
            count += f" of {self.total}"
        parts = (f"{title}: {self.name}{count}", self.times(now), self.words)
        return ", ".join(part for part in parts if part)


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """A callback that tells on stderr how far work is, while the context is open."""
    with _bars(title) if sys.stderr.isatty() else lines(title) as show:
        yield show


@contextmanager
def lines(
    title: str, every: float = EVERY, now: Callable[[], float] = time.monotonic
) -> Iterator[Show]:
    """A line when the work begins and every so many seconds, also while a stage says nothing."""
    at: Stage | None = None
    over = threading.Event()

    def show(stage: str, done: int, total: int | None, words: str = "") -> None:
        nonlocal at
        if at is None:
            print(f"{title}: {stage}", file=sys.stderr, flush=True)
        if at is None or at.name != stage:
            at = Stage(stage, now(), before=done)
        at.done, at.total, at.words = done, total, words

    def tell() -> None:
        while not over.wait(every):
            if at is not None:
                print(at.line(title, now()), file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, name="unveil-progress", daemon=True)
    teller.start()
    try:
        yield show
    finally:
        over.set()
        teller.join()


@contextmanager
def _bars(title: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.text import Text

    class Times(ProgressColumn):
        """What a stage took and what is left; rich's own forget what came before the first step."""

        def render(self, task: Task) -> Text:
            now = task.fields["ended"] or time.monotonic()
            return Text(task.fields["about"].times(now))

    class Count(ProgressColumn):
        """What is done, and of how many where that is known."""

        def render(self, task: Task) -> Text:
            if task.total is None:
                return Text(f"{task.completed:.0f}" if task.completed else "")
            return Text(f"{task.completed:.0f}/{task.total:.0f}")

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Count(),
        Times(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Task] = {}

        def end(task: Task) -> None:
            if task.fields["ended"] is None:
                bars.update(task.id, ended=time.monotonic())

        def add(stage: str, before: int, total: int | None) -> Task:
            for task in tasks.values():  # stages follow each other
                end(task)
                if task.total is None:
                    bars.update(task.id, completed=1, total=1)
            about = Stage(stage, time.monotonic(), before)
            name = f"{title} {stage}"
            id = bars.add_task(name, total=total, about=about, words="", ended=None)
            return bars.tasks[bars.task_ids.index(id)]

        def show(stage: str, done: int, total: int | None, words: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = add(stage, done, total)
            task = tasks[stage]
            task.fields["about"].done, task.fields["about"].total = done, total
            bars.update(task.id, completed=done, total=total, words=words)
            if total is not None and done >= total:
                end(task)

        yield show


def count(number: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
