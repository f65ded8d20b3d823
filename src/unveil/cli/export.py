"""`unveil export`."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from unveil.batch.job import Job, Outcome
from unveil.batch.workers import Workers
from unveil.errors import InputError

_Repeated = tyro.conf.UseAppendAction


@dataclass(frozen=True)
class Export:
    """Write a result in the forms of other tools: COCO, YOLO, CVAT, alpha video, CSV and more."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Results of `unveil segment`, or folders of a batch, which stand for all results in them."""
    to: Annotated[tuple[str, ...], _Repeated] = ()
    """A form; may be given several times. Without any, all forms are listed."""
    out: Path | None = None
    """The folder that the exports are put in; FOLDER-export by default. Of several results, one
    each in it."""
    objects: str | None = None
    """Only these ids: 1,3."""
    every: int = 1
    """Every so many frames one."""
    name: Annotated[tuple[str, ...], _Repeated] = ()
    """A name for an object, which becomes its class: 1=dog; may be given several times."""
    source: Path | None = None
    """The video of a single result, where it is no longer where it was."""
    again: bool = False
    """Replace what an earlier export wrote; of several results, what is there is skipped else."""
    no_images: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write no pictures beside the annotations."""
    val: float | None = None
    """Share of the frames that YOLO keeps for validation, the last ones; 0.2 by default."""
    hard_edges: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Cut objects out at the borders of their masks, not softly."""
    colour: str | None = None
    """Of the green screen: #00b140 by default."""
    blur: float | None = None
    """How far a background is blurred, as a part of the longer side; 0.02 by default."""
    workers: Workers = field(default_factory=Workers)
    """Who does the work: an export, of one result to one form, after the other."""

    def run(self) -> int:
        """Export to every form, and say where it lies; 2 where that failed."""
        from unveil.cli.workers import gathered
        from unveil.exports.formats import FORMATS, check_options, find_format

        if not self.to:
            for name, form in FORMATS.items():
                print(f"{name:14} {form.about}")
            raise InputError("nothing to export to: choose one of these with --to")
        forms = {name: find_format(name).file for name in self.to}
        check_options(list(forms), self._options())
        results = self._results()
        jobs = self._jobs(results, forms)
        with gathered(self.workers):
            return self._export(jobs, len(results) > 1)

    def _results(self) -> dict[str, Path]:
        """The results that are meant, by name."""
        from unveil.batch.export_work import results_in

        found = [result for folder in self.folders for result in results_in(folder)]
        results = {folder.absolute().name: folder for folder in found}
        if len(results) < len(found):
            raise InputError("several results have one name: export them one by one")
        if not found:
            raise InputError("nothing to export: give the folder of a result")
        if len(found) > 1 and self.source is not None:
            raise InputError("--source is the video of one result, and these are several")
        return results

    def _place(self) -> Path:
        """The folder of the exports."""
        if self.out is not None:
            return self.out.absolute()
        if len(self.folders) > 1:
            raise InputError(
                f"{len(self.folders)} folders: say with --out where to put the exports"
            )
        folder = self.folders[0].absolute()
        return folder.with_name(f"{folder.name}-export")

    def _jobs(self, results: dict[str, Path], forms: dict[str, str]) -> list[Job]:
        """An export each, of a result to a form; those of several that are there are skipped."""
        from unveil.exports.place import check_place

        out, jobs = self._place(), []
        for (name, folder), (form, file) in product(results.items(), forms.items()):
            place = (out / name if len(results) > 1 else out) / file
            if len(results) > 1 and place.exists() and not self.again:
                print(f"{place}: is there already, skipped (--again redoes it)")
                continue
            check_place(place, self.again)
            options = {"form": form, "place": place}
            jobs.append(Job(f"{name}.{form}", str(folder), options=options))
        return jobs

    def _export(self, jobs: list[Job], several: bool) -> int:
        """Do all; of several results the ledger and the logs lie beside the exports."""
        from unveil.batch.export_work import ExportWork
        from unveil.cli.progress import count, progress

        work = ExportWork(
            self._place(),
            source=self.source,
            objects=ids(self.objects),
            every=self.every,
            names=names(self.name),
            options=self._options(),
            again=self.again,
        )
        done, failed = 0, 0

        def ended(job: Job, outcome: Outcome) -> None:
            nonlocal done, failed
            done, failed = done + 1, failed + bool(outcome.error)
            form, place = job.options["form"], job.options["place"]
            if outcome.error:
                print(f"unveil: {job.source} to {form}: {outcome.error}", file=sys.stderr)
            else:
                print(f"{form:14} {place}")
            if not self.workers.alone:
                show("exports", done, len(jobs))

        with ExitStack() as stack:
            show = stack.enter_context(progress(count(len(jobs), "export")))
            kept = work.out if several else Path(stack.enter_context(TemporaryDirectory()))
            sources = [job.source for job in jobs]
            self.workers.do(jobs, work, kept, sources=sources, ended=ended, report=show)
        return 2 if failed else 0

    def _options(self) -> dict[str, Any]:
        every = {
            "images": False if self.no_images else None,
            "val": self.val,
            "soft": False if self.hard_edges else None,
            "colour": self.colour,
            "blur": self.blur,
        }
        return {name: value for name, value in every.items() if value is not None}


def ids(text: str | None) -> list[int] | None:
    """Ids as `1,3`. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"objects: expected ids such as 1,3, got {text!r}") from None


def names(pairs: tuple[str, ...]) -> dict[int, str]:
    """Names as `1=dog`. Raises InputError for anything else."""
    found = {}
    for pair in pairs:
        id, equals, name = pair.partition("=")
        if not equals or not id.strip().isdecimal() or not name.strip():
            raise InputError(f"name: expected an id and its name such as 1=dog, got {pair!r}")
        found[int(id)] = name.strip()
    return found
