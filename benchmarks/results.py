"""Write docs/results.md: Unveil, as it is now, on every annotated clip that is at hand.

    python benchmarks/results.py

The real clips are not part of this project: without them (UNVEIL_SHARED, or ../shared beside the
repository) only the synthetic benchmark is scored. Goes on where it stopped.
"""

import os
import platform
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from unveil.batch.workers import Workers
from unveil.datasets import Dataset, open_dataset
from unveil.evaluate import cache, protocols
from unveil.evaluate.page import tables
from unveil.evaluate.run import evaluate
from unveil.settings import Settings
from unveil.synthetic.benchmark import make_benchmark

ROOT = Path(__file__).resolve().parent.parent
APPROXIMATE = {"scooter-black", "soapbox"}
"""Sequences whose foreground is exact, but whose split between objects is approximated here."""
NOTE = "approximate: foreground exact, ids of the objects approximated"
CLIPS, SEED = 10, 0  # of the synthetic benchmark


@dataclass(frozen=True)
class Results:
    """Score Unveil on every annotated clip at hand and write the page."""

    shared: Path = Path(os.environ.get("UNVEIL_SHARED", ROOT.parent / "shared"))
    """The folder whose data/ holds the real clips."""
    page: Path = ROOT / "docs" / "results.md"
    """What is written."""
    work: Path = ROOT / "out" / "results"
    """Where masks and scores are kept between runs."""
    predictions: Path | None = None
    """Score these masks of the DAVIS sequences instead; the other clips are left out."""
    sequences: int | None = None
    """Only so many sequences of each dataset, to try it out; by default all."""
    jobs: int = 1
    """Processes that segment and score, with a model each."""
    settings: Settings = field(default_factory=Settings)
    """Of Unveil."""

    def run(self) -> int:
        """Score, write, and say where; 1 where a sequence could not be scored."""
        data = self.shared / "data"
        lines, failed = self.head(data.is_dir()), 0
        sections = [self.davis(data / "davis")] if (data / "davis").is_dir() else []
        if self.predictions is None:
            if (data / "davis-train").is_dir():
                sections.append(self.davis_train(data / "davis-train"))
            if (data / "schoolgirls").is_dir():
                sections.append(self.schoolgirls(data / "schoolgirls"))
            sections.append(self.synthetic())
        lines += overview(sections)
        for title, about, records in sections:
            lines += [f"## {title}", "", about, ""]
            for record in records:
                lines += tables(record, level=3)
                failed += len(record["failures"])
        cache.write(self.page, "\n".join(lines).rstrip() + "\n")
        print(self.page)
        return 1 if failed else 0

    def davis(self, root: Path) -> tuple[str, str, list[dict]]:
        """The DAVIS sequences, by both of their annotations."""
        multi = open_dataset("davis2017", root)
        noted = tuple(
            replace(s, note=NOTE if s.name in APPROXIMATE else "") for s in multi.sequences
        )
        first = self.score(replace(multi, sequences=noted), "davis")
        masks = self.predictions or self.work / "davis" / "predictions"
        # The masks of the first run are scored again: nothing is segmented twice.
        single = open_dataset("davis2016", root)
        second = self.score(single, "davis-2016", masks, names=("davis2016",))
        count = len(first["dataset"]["sequences"])
        some = ", ".join(sorted(APPROXIMATE))
        about = (
            f"{count} sequences of the DAVIS validation set, 854x480. The DAVIS-2016 masks are the "
            f"official ones. The multi-object ids are exact for single-object sequences and "
            f"**approximate** for {some} (foreground exact, the split between objects "
            "approximated), so these figures cannot be set against a full validation run."
        )
        return f"DAVIS, {count} sequences", about, [first, second]

    def davis_train(self, root: Path) -> tuple[str, str, list[dict]]:
        """The second development set, by its official masks of the foreground."""
        names = sorted(p.name for p in (root / "JPEGImages" / "480p").iterdir())
        record = self.score(open_dataset("davis2016", root, sequences=names), "davis-train")
        about = (
            f"{len(names)} sequences of the DAVIS training set, 854x480, with the official masks "
            "of DAVIS-2016. Nothing was trained on them; constants were chosen on them and on the "
            "ten sequences above together."
        )
        return f"DAVIS-2016 train, {len(names)} sequences", about, [record]

    def schoolgirls(self, root: Path) -> tuple[str, str, list[dict]]:
        """The clip with seven objects."""
        places = {"frames": "schoolgirls.mp4", "masks": "schoolgirls_mask"}
        record = self.score(open_dataset("folder", root, **places), "schoolgirls")
        about = "One real clip with seven annotated objects, 80 frames of 432x240."
        return "schoolgirls", about, [record]

    def synthetic(self) -> tuple[str, str, list[dict]]:
        """The synthetic benchmark, rendered once."""
        root = rendered(self.work / f"synthetic-data-{cache.code_digest('datasets')}")
        names = (*protocols.defaults("davis2017"), "video-ap")
        record = self.score(open_dataset("davis2017", root), "synthetic", names=names)
        about = (
            f"{CLIPS} rendered clips of 24 frames, 320x192, with exact masks: `unveil data make "
            f"--sequences {CLIPS} --seed {SEED}`. Scenarios: calm, occlusion, return, late, crowd."
        )
        return "Synthetic benchmark", about, [record]

    def score(
        self,
        dataset: Dataset,
        name: str,
        masks: Path | None = None,
        names: tuple[str, ...] | None = None,
    ) -> dict:
        """One dataset by these protocols, or its usual ones."""
        dataset = replace(dataset, sequences=dataset.sequences[: self.sequences])
        record = evaluate(
            dataset,
            names or protocols.defaults(dataset.name),
            predictions=masks or self.predictions,
            settings=self.settings,
            out=self.work / name,
            workers=Workers(jobs=self.jobs),
            on_progress=lambda *at: print(name, *at, file=sys.stderr),
        )
        method = "Unveil" if self.predictions is None else str(self.predictions)
        return {**record, "method": {**record["method"], "name": method}}

    def head(self, real: bool) -> list[str]:
        """What was run, and on what."""
        import torch

        what = "Unveil" if self.predictions is None else f"the masks in `{self.predictions}`"
        lines = [
            "# Results",
            "",
            f"Scores of {what}, written by `python benchmarks/results.py`; do not edit. In percent "
            "unless they are counts. What others published stands apart, each row with its "
            "protocol and its source.",
            "",
            f"- machine: {machine()}",
            f"- versions: Python {platform.python_version()}, torch {torch.__version__}",
        ]
        if self.predictions is None:
            told = ", ".join(f"{k} {v}" for k, v in self.settings.plain().items() if v is not None)
            lines.append(f"- settings: {told}")
        if not real:
            lines.append("- the real clips were not at hand: only the synthetic benchmark is here")
        return [*lines, ""]


_OVERVIEW = (
    ("DAVIS-2017 standard J&F", "davis2017", "J&F"),
    ("DAVIS-2017 per frame J&F", "davis2017-per-frame", "J&F"),
    ("DAVIS-2016 J&F", "davis2016", "J&F"),
    ("foreground J", "foreground", "J"),
    ("FG-ARI per frame", "fg-ari", "FG-ARI per frame"),
    ("FG-ARI per video", "fg-ari", "FG-ARI per video"),
    ("mIoU", "miou", "mIoU"),
)
"""Head of a column, protocol and figure."""


def overview(sections: list[tuple[str, str, list[dict]]]) -> list[str]:
    """The main figure of each protocol, a row a section."""
    lines = [
        "| clips | " + " | ".join(head for head, _, _ in _OVERVIEW) + " |",
        "| --- |" + " ---: |" * len(_OVERVIEW),
    ]
    for title, _, records in sections:
        means = {name: p["mean"] for record in records for name, p in record["protocols"].items()}
        values = [means.get(name, {}).get(figure) for _, name, figure in _OVERVIEW]
        cells = ["" if value is None else f"{100 * value:.1f}" for value in values]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def rendered(root: Path, sequences: int = CLIPS, seed: int = SEED) -> Path:
    """The synthetic benchmark as `unveil data make` draws it, made once."""
    if not root.is_dir():
        shape = {"frames": 24, "height": 192, "width": 320}
        make_benchmark(root, "davis2017", sequences=sequences, seed=seed, **shape)
    return root


def machine() -> str:
    """The processor and its cores."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        model = text.split("model name")[1].split(":")[1].split("\n")[0].strip()
    except (OSError, IndexError):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
    sys.exit(tyro.cli(Results, config=style).run())
