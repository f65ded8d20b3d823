"""What a few clicks are worth: J and F before and after recorded corrections.

python benchmarks/corrections.py [--data ../shared/data] [--features folder] [--only carphone]

Each log of `benchmarks/corrections` has at most twenty clicks, chosen with the truth at hand. The
clips are segmented with default settings, the log is done by `recut`, and both are scored by
`unveil evaluate`: DAVIS clips by their own protocol, the others by that of DAVIS-2017. `carphone`
is the demo clip, every sixth frame of it, `bedroom` and `yoga` every fifth and tenth; the truth of
these three are outlines that were drawn by hand on three and four frames.

--features: a folder of SET_CLIP.npz, as `benchmarks/foreground.py` keeps them; what is not there is
asked of the backbone. The same state comes of both, for the features are the same.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from unveil.attention.objects_file import load_head, shipped_head
from unveil.datasets import open_dataset
from unveil.editing.edits import Cut, Merge, Split
from unveil.editing.log import read
from unveil.evaluate.run import evaluate
from unveil.features import weights
from unveil.features.demo_clips import fetch_clip
from unveil.results.writer import Writer
from unveil.segmentation.first_pass import FastFinder
from unveil.segmentation.recut import recut
from unveil.segmentation.second_pass import write
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.timing import Clock
from unveil.types import Features
from unveil.video.source import open_video, read_clip

LOGS = Path(__file__).parent / "corrections"
CHUNK = 16


@dataclass(frozen=True)
class Clip:
    """video: below the data's root; of the demo clips without one. of: the set that it is of.

    dataset: as `open_dataset` knows it. masks: where they lie, for a plain folder. stride: every so
    many frames.
    """

    video: str
    of: str
    dataset: str
    masks: str = ""
    stride: int = 1

    @property
    def protocol(self) -> str:
        """The one that it is scored by."""
        return "davis2017" if self.dataset == "folder" else self.dataset


CLIPS = {
    "schoolgirls": Clip(
        "schoolgirls/schoolgirls.mp4", "schoolgirls", "folder", masks="schoolgirls_mask"
    ),
    "bmx-trees": Clip("davis/JPEGImages/480p/bmx-trees", "davis", "davis2017"),
    "hockey": Clip("davis-train/JPEGImages/480p/hockey", "davis-train", "davis2016"),
    "bedroom": Clip("train/facebookresearch_sam2__bedroom.mp4", "train", "folder", stride=5),
    "yoga": Clip("train/OpenGVLab_Ask-Anything__yoga.mp4", "train", "folder", stride=10),
    "carphone": Clip("", "", "folder", stride=6),
}


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


def find(name: str, data: Path | None) -> Path:
    """Where the video of a clip lies."""
    clip = CLIPS[name]
    return data / clip.video if clip.video and data else fetch_clip(name)


def segment(name: str, out: Path, data: Path | None, features: Path | None) -> None:
    """The result of a clip, by default settings."""
    clip, place = CLIPS[name], find(name, data)
    kept = features / f"{clip.of}_{name}.npz" if features else None
    if kept is None or not kept.is_file():
        Segmenter().segment_to(place, out, stride=clip.stride)
        return
    video = open_video(place, stride=clip.stride)
    finder = FastFinder(head=load_head(shipped_head(weights.DEFAULT), weights.DEFAULT, 384))
    for frames, seen in _with_frames(kept, video.chunks(CHUNK)):
        finder.add(seen, frames)
    found = finder.finish()
    t, h, w = found.ids.shape
    size: dict[str, Any] = {"height": video.height, "width": video.width}
    about = {"name": video.name, "frames": t, "fps": str(video.fps), "source": str(place), **size}
    span = {"start": None, "end": None, "stride": clip.stride}
    run = {"settings": Settings().plain(), "video": about | span, "warnings": [], "grid": [h, w]}
    with Writer(out, name=video.name, fps=video.fps, **size) as writer:
        write(writer, video, found, CHUNK, Clock())
        writer.finish(found.scores, run)


def _with_frames(kept: Path, chunks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Features]]:
    """Frames with the features that a file holds of them."""
    with np.load(kept) as arrays:
        keys, saliency = (torch.from_numpy(arrays[k]).float() for k in ("keys", "saliency"))
    done = 0
    for frames in chunks:
        at = slice(done, done + len(frames))
        yield frames, Features(keys[at], 14, saliency[at])
        done += len(frames)


def score(name: str, data: Path | None, result: Path) -> tuple[float, float]:
    """J and F of a result folder in percent."""
    clip = CLIPS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        predictions = folder / "predictions" / name
        shutil.copytree(result / "masks", predictions)
        if (LOGS / f"{name}.json").is_file():
            _drawn(name, find(name, data), folder, predictions)
            dataset = open_dataset("folder", folder)
        elif data is None:
            raise SystemExit(f"corrections.py: the truth of {name} lies in --data")
        elif clip.masks:
            frames, masks = Path(clip.video).name, Path(clip.masks)
            dataset = open_dataset("folder", data / clip.of, frames=frames, masks=masks)
        else:
            dataset = open_dataset(clip.dataset, data / clip.of, sequences=[name])
        record = evaluate(
            dataset,
            [clip.protocol],
            predictions=folder / "predictions",
            settings=Settings(),
            out=folder / "scores",
        )
        mean = record["protocols"][clip.protocol]["mean"]
        return 100 * mean["J"], 100 * mean["F"]


def _drawn(name: str, video: Path, folder: Path, predictions: Path) -> None:
    """Frames and masks of a clip whose truth was drawn by hand; other predictions are removed."""
    said = json.loads((LOGS / f"{name}.json").read_text())
    frames = read_clip(video, stride=CLIPS[name].stride).frames
    masks = sorted(predictions.iterdir())
    for kind in ("frames", "masks"):
        (folder / kind / name).mkdir(parents=True)
    wanted = {masks[int(i)]: (frames[int(i)], ways) for i, ways in said["outlines"].items()}
    for mask in masks:
        if mask not in wanted:
            mask.unlink()
            continue
        frame, ways = wanted[mask]
        truth = Image.new("L", (frame.shape[1], frame.shape[0]))
        for id, way in enumerate(ways, 1):  # the later ones are before the earlier
            ImageDraw.Draw(truth).polygon([tuple(point) for point in way], fill=id)
        Image.fromarray(frame).save(folder / "frames" / name / mask.name)
        truth.save(folder / "masks" / name / mask.name)


def corrected(
    name: str, folder: Path, data: Path | None, features: Path | None
) -> list[tuple[float, float]]:
    """J and F before and after the log of a clip."""
    before, after = folder / name, folder / f"{name}-corrected"
    segment(name, before, data, features)
    recut(before, edits=LOGS / f"{name}.jsonl", out=after)
    return [score(name, data, result) for result in (before, after)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--features", type=Path, help="kept features, by set and clip")
    parser.add_argument("--only", nargs="*", choices=CLIPS, default=list(CLIPS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        log = LOGS / f"{name}.jsonl"
        with tempfile.TemporaryDirectory() as folder:
            scores = corrected(name, Path(folder), options.data, options.features)
        said = [f"J {j:.1f} F {f:.1f}" for j, f in scores]
        edits = len(read(log).edits)
        print(f"{name}: {said[0]}, after {edits} edits and {clicks(log)} clicks {said[1]}")


if __name__ == "__main__":
    main()
