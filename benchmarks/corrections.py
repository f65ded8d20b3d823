"""What a few clicks are worth: J and F before and after recorded corrections.

python benchmarks/corrections.py ../shared/data [--results folder]

Each log of `benchmarks/corrections` has at most twenty clicks, chosen with the truth at hand. The
clips are segmented with default settings (or taken from --results), the log is done by `recut`, and
both are scored by `unveil evaluate`, standard DAVIS-2017 protocol.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from unveil.datasets import open_dataset
from unveil.editing.edits import Cut, Merge, Split
from unveil.editing.log import read
from unveil.evaluate.run import evaluate
from unveil.segmentation.recut import recut
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings

LOGS = Path(__file__).parent / "corrections"
CLIPS = {
    "schoolgirls": ("schoolgirls/schoolgirls.mp4", "schoolgirls", "schoolgirls_mask"),
    "hockey": ("davis-train/JPEGImages/480p/hockey", "davis-train", None),
}
"""Of each log: the video, the dataset's root, and its masks where it is a plain folder."""


def clicks(log: Path) -> int:
    """Clicks of a person: points of sides, objects selected, one more where a frame is sought."""
    total = 0
    for edit in read(log).edits:
        if isinstance(edit, Split) and edit.sides is not None:
            total += sum(map(len, edit.sides))
        elif isinstance(edit, Merge):
            total += len(edit.objects)
        else:
            total += 1 + isinstance(edit, Cut)
    return total


def score(name: str, root: Path, result: Path) -> tuple[float, float]:
    """J and F of a result folder in percent."""
    _, of, masks = CLIPS[name]
    with tempfile.TemporaryDirectory() as folder:
        predictions = Path(folder) / "predictions"
        shutil.copytree(result / "masks", predictions / name)
        if masks:
            frames = Path(f"{name}.mp4")
            dataset = open_dataset("folder", root / of, frames=frames, masks=Path(masks))
        else:
            dataset = open_dataset("davis2016", root / of).select([name])
        protocol = "davis2017" if masks else "davis2016"
        record = evaluate(
            dataset,
            [protocol],
            predictions=predictions,
            settings=Settings(),
            out=Path(folder),
            jobs=1,
        )
        mean = record["protocols"][protocol]["mean"]
        return 100 * mean["J"], 100 * mean["F"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, help="results of the clips, by name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name, (video, _, _) in CLIPS.items():
            first = Path(temporary) / name
            if options.results:
                first = options.results / name
            else:
                Segmenter().segment_to(options.data / video, first)
            log = LOGS / f"{name}.jsonl"
            after = Path(temporary) / f"{name}-corrected"
            recut(first, edits=log, out=after)
            before_after = [score(name, options.data, folder) for folder in (first, after)]
            said = [f"J {j:.1f} F {f:.1f}" for j, f in before_after]
            edits = len(json.loads((after / "run.json").read_text())) and len(read(log).edits)
            print(f"{name}: {said[0]}, after {edits} edits and {clicks(log)} clicks {said[1]}")


if __name__ == "__main__":
    main()
