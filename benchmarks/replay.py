"""Segments with whatever state of Unveil is on the path; `before.py` runs it for one after another.

    PYTHONPATH=TREE/src python benchmarks/replay.py JOB.json

JOB.json: settings of the Segmenter; "timed": a source that is segmented whole, the backbone
included, or null; "replayed": sources [path, file of features, where labels go], whose features
are given out instead of being made; "frames": the first so many of these. Prints one line of JSON.
Only what states of all times have is used: `Segmenter`, `open_video`, `read_clip`, `Features`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unveil
from unveil.types import Features


class Kept:
    """Stands in for the backbone: what it said of frames [T, H, W, 3] when it saw them.

    keys: [T, h, w, c]. saliency: [T, h, w].
    """

    def __init__(self, frames: np.ndarray, keys: torch.Tensor, saliency: torch.Tensor) -> None:
        self.at = {frame.tobytes(): i for i, frame in enumerate(frames)}
        self.keys, self.saliency = keys, saliency

    def grid(self, height: int, width: int, size: object) -> tuple[int, ...]:
        """Patches down and across."""
        return tuple(self.saliency.shape[1:])

    def encode(self, frames: np.ndarray, size: object, on_frames: object = None) -> Features:
        """Features of some of the frames."""
        at = [self.at[frame.tobytes()] for frame in frames]
        return Features(self.keys[at], 14, self.saliency[at])


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys [T, h, w, c] and saliency [T, h, w] of a file, fp32."""
    with np.load(path) as arrays:
        keys, saliency = (torch.from_numpy(arrays[k]).float() for k in ("keys", "saliency"))
    return keys, saliency


def whole(segmenter: Any, source: str) -> dict[str, float]:
    """CPU seconds a frame of a run into a folder, models loaded, and the peak of the process."""
    segmenter.backbone.encode(next(unveil.open_video(source).chunks(1)), segmenter.settings.size)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = segmenter.segment_to(source, Path(folder) / "out")
        spent = time.process_time() - start
    return {"CPU s": spent / run["video"]["frames"], "peak MB": run["peak_memory_mb"]}


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    told: dict[str, Any] = {"code": unveil.__file__}
    segmenter = unveil.Segmenter(**job["settings"])
    if job["timed"]:
        told |= whole(segmenter, job["timed"])
    for source, features, labels in job["replayed"]:
        frames = unveil.read_clip(source).frames[: job["frames"]]
        segmenter.backbone.encode = Kept(frames, *read(features)).encode
        np.savez_compressed(labels, labels=segmenter(frames).labels)
    return told


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
