"""An earlier state of Unveil beside every speed and precision of this one: cost, memory and J&F.

    python benchmarks/before.py cc3012d --features runs/features-by-size

The code of the commit is taken from git into a temporary folder, and each state runs in processes
of its own (`replay.py`). CPU seconds and peak memory are of one whole run, from files of frames to
the folder of results, the backbone included and loading left out; all states in turn `--rounds`
times, and the least counts. J&F is of all sequences on the features that `sizes.py` keeps, so no
backbone runs for it twice. The commit is run in the first of `--precisions`. One thread.

On a machine with bf16 `--precisions bf16,int8`, and `fp32,int8` for the same with it switched off.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from objects_head import Place
from paper_before import ROOT, state_of
from sizes import Sizes, Way, chosen, compared, features, scores
from speed import machine
from unveil.errors import UnveilError
from unveil.features.backbone import Backbone

LIVE = 25  # frames a second
COLUMNS = {
    "DAVIS-2016 J&F, all": ("DAVIS-2016 J&F", ("davis", "davis-train")),
    "davis": ("DAVIS-2016 J&F", ("davis",)),
    "davis-train": ("DAVIS-2016 J&F", ("davis-train",)),
    "foreground J, all": ("foreground J", ("davis", "davis-train", "schoolgirls")),
}


@dataclass(frozen=True)
class Before:
    """Hold every speed and precision against an earlier commit."""

    commit: tyro.conf.Positional[str]
    """Whatever git knows as one."""
    speeds: str = "exact,balanced,fast"
    """Comma-separated."""
    precisions: str = "fp32,int8"
    """fp32, bf16 or int8, comma-separated; the commit is run in the first."""
    sequences: str = "all"
    """Names, comma-separated; or all."""
    frames: int = 96
    """The first so many frames of each sequence."""
    timed: str = "dog"
    """The sequence that whole runs are timed on."""
    rounds: int = 2
    """How often."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class State:
    """Code, and how it is to look at a video. of: the features it is given."""

    name: str
    source: Path
    settings: dict[str, Any]
    of: Way


def main(bench: Before) -> int:
    places = chosen(bench.sequences)
    timed = chosen(bench.timed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        states = every_state(bench, state_of(bench.commit, work))
        kept = {way: kept_features(bench, places, way) for way in {s.of for s in states}}
        spent: dict[str, list[dict[str, float]]] = {state.name: [] for state in states}
        for state in states * bench.rounds:
            spent[state.name].append(run(bench, state, work, timed=timed[0]))
            print(state.name, spent[state.name][-1], flush=True)
        costs = [min(these, key=lambda cost: cost["CPU s"]) for these in spent.values()]
        figures = [scored(bench, state, places, kept[state.of], work) for state in states]
    text = f"{table(states, places, costs, figures)}\n\n{machine()}\n"
    print(text)
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def every_state(bench: Before, source: Path) -> list[State]:
    """The commit, and each speed and precision of the code at hand."""
    precisions = bench.precisions.split(",")
    settings = {"precision": precisions[0]}
    name = f"{bench.commit}, {precisions[0]}"
    states = [State(name, source, settings, Way(336, "exact", precisions[0]))]
    for speed, precision in itertools.product(bench.speeds.split(","), precisions):
        settings = {"speed": speed, "precision": precision}
        way = Way(336, "exact", precision)
        states.append(State(f"{speed}, {precision}", ROOT / "src", settings, way))
    return states


def kept_features(bench: Before, places: list[Place], way: Way) -> list[Path]:
    """Files of the features of all sequences, made where they are not there."""
    loaded: dict[str, Backbone] = {}
    as_kept = Sizes(frames=bench.frames, features=bench.features)
    return [features(as_kept, place, way, loaded)[0] for place in places]


def run(
    bench: Before,
    state: State,
    work: Path,
    timed: Place | None = None,
    replayed: list[tuple[Place, Path, Path]] | None = None,
) -> dict[str, Any]:
    """What `replay.py` says of a job, run in a process of its own by the code of a state."""
    job = {
        "settings": state.settings,
        "frames": bench.frames,
        "timed": timed and str(timed.source),
        "replayed": [[str(p.source), str(a.resolve()), str(b)] for p, a, b in replayed or ()],
    }
    (work / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(Path(__file__).with_name("replay.py")), str(work / "job.json")]
    there = {"PYTHONPATH": str(state.source), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **there}
    )
    if made.returncode:
        raise UnveilError(f"{state.name}: {made.stderr.strip()}")
    told = json.loads(made.stdout.splitlines()[-1])
    if not Path(told.pop("code")).is_relative_to(state.source):
        raise UnveilError(f"{state.name}: not the code of {state.source} was run")
    return told


def scored(
    bench: Before, state: State, places: list[Place], kept: list[Path], work: Path
) -> list[dict[str, float]]:
    """The scores of every sequence by a state."""
    labels = [work / f"{i}.npz" for i in range(len(places))]
    run(bench, state, work, replayed=list(zip(places, kept, labels, strict=True)))
    figures = []
    for place, path in zip(places, labels, strict=True):
        with np.load(path) as arrays:
            figures.append(scores(place, arrays["labels"]))
        print(place.name, state.name, figures[-1], flush=True)
    return figures


def table(
    states: list[State],
    places: list[Place],
    costs: list[dict[str, float]],
    figures: list[list[dict[str, float]]],
) -> str:
    """What a state costs, and how far its means are ahead of the first one's."""
    heads = ["state", "CPU s a frame", "times", f"of {LIVE} frames a second", "peak MB", *COLUMNS]
    lines = [heads, ["---"] * len(heads)]
    for state, cost, these in zip(states, costs, figures, strict=True):
        spent = cost["CPU s"]
        line = [state.name, f"{spent:.3f}", f"{costs[0]['CPU s'] / spent:.1f}"]
        line += [f"{1 / spent / LIVE:.2f}", f"{cost['peak MB']:.0f}"]
        for name, sets in COLUMNS.values():
            pairs = [
                (a[name], b[name])
                for place, a, b in zip(places, these, figures[0], strict=True)
                if place.set in sets and name in a
            ]
            line.append(compared(np.array(pairs).reshape(-1, 2), these is figures[0]))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Before)))
    except UnveilError as error:
        sys.exit(f"before.py: {error}")
