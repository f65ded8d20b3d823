"""`unveil evaluate`."""

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from unveil.batch.workers import Workers
from unveil.settings import Settings


@dataclass(frozen=True)
class Evaluate:
    """Score Unveil, or any method's masks, on a dataset; every protocol named."""

    dataset: tyro.conf.Positional[str]
    """davis2016, davis2017, ytvis2019, ytvis2021, movi, movi-a … movi-e, or folder."""
    root: Path
    """The folder it lies in, in its official layout; see `unveil data check`."""
    predictions: Path | None = None
    """Masks to score, a folder with SEQ/*.png, SEQ/masks/*.png, SEQ/objects.json or SEQ.npz.
    Without it Unveil segments the sequences itself."""
    out: Path | None = None
    """A folder for results.json, results.md and index.html; run again to go on where it stopped."""
    json: Path | None = None
    """Write the results to this file."""
    sequences: str | None = None
    """Only these, separated by commas."""
    protocol: str | None = None
    """Only these protocols, separated by commas; by default all that fit the dataset."""
    split: str | None = None
    """One of the dataset's lists; by default the one that the field scores."""
    frames: Path | None = None
    """Of a plain folder: its frames, relative to the root (folder of images, or a video)."""
    masks: Path | None = None
    """Of a plain folder: its masks, relative to the root."""
    in_chunks: int | None = None
    """Every video in chunks of so many frames, each a video of its own; what is left at its end is
    dropped."""
    crop: int | None = None
    """Of every frame the square in its middle, scaled to so many px a side: pictures, truth and
    given predictions alike."""
    workers: Workers = field(default_factory=Workers)
    """Who segments and scores; what only scores is done on all cores where nobody says."""
    settings: Settings = field(default_factory=Settings)
    """How Unveil segments; not together with given predictions."""

    def run(self) -> int:
        """Score, write, print the means; 1 where a sequence could not be scored, 2 where none."""
        import tempfile

        from unveil.cli.progress import progress
        from unveil.cli.workers import gathered
        from unveil.datasets import in_chunks, open_dataset
        from unveil.errors import InputError
        from unveil.evaluate import cache, protocols
        from unveil.evaluate.run import evaluate
        from unveil.evaluate.write import write_json, write_results

        if self.predictions is not None:
            if not self.predictions.is_dir():
                raise InputError(f"no folder of predictions at {self.predictions}")
            if self.settings != Settings():
                raise InputError(
                    "--predictions are scored as they are: leave out the settings of Unveil, or "
                    "leave out --predictions to run it"
                )
        for file in (self.json, self.out and self.out / "results.json"):
            if file:
                cache.check_writable(file)
        dataset = open_dataset(
            self.dataset,
            self.root,
            split=self.split,
            frames=self.frames,
            masks=self.masks,
            sequences=None if self.sequences is None else _listed(self.sequences),
        )
        if self.in_chunks is not None or self.crop is not None:
            dataset = in_chunks(dataset, self.in_chunks, self.crop)
        names = _listed(self.protocol) if self.protocol else protocols.defaults(dataset.name)
        workers = self.workers
        if self.predictions is not None and workers.ray is None and workers.jobs is None:
            workers = replace(workers, jobs=os.cpu_count() or 1)
        with ExitStack() as stack:
            stack.enter_context(gathered(workers))
            out = self.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            show = stack.enter_context(progress(dataset.name))
            record = evaluate(
                dataset,
                names,
                predictions=self.predictions,
                settings=self.settings,
                out=out,
                workers=workers,
                on_progress=show,
            )
            files = [self.json] if self.json else []
            if self.json:
                write_json(record, self.json)
            if self.out:
                files += write_results(
                    record, dataset, self.predictions or out / "predictions", out
                )
        _say(record, files)
        lost, empty = len(record["failures"]), len(record["empty"])
        if lost + empty == len(dataset.sequences):
            return 2
        return 1 if lost else 0


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _say(record: dict[str, Any], files: list[Path]) -> None:
    total, lost = len(record["dataset"]["sequences"]), record["failures"]
    empty = len(record["empty"])
    scored = total - len(lost) - empty
    without = f", {empty} without an object" if empty else ""
    print(f"{record['method']['name']} on {scored} of {total} sequences{without}")
    for name, protocol in record["protocols"].items() if scored else ():
        values = ", ".join(
            f"{column} {100 * value:.1f}"
            if column in protocol["percent"]
            else f"{column} {value:g}"
            for column in protocol["columns"]
            if (value := protocol["mean"].get(column)) is not None
        )
        print(f"  {name:24} {values}")
    for failure in lost:
        print(f"unveil: {failure['sequence']}: {failure['error']}", file=sys.stderr)
    for file in files:
        print(f"  {file}")
