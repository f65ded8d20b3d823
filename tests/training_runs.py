"""What runs of training on frozen features are tried on, and how they are stopped."""

from pathlib import Path

import numpy as np
from PIL import Image

from unveil.training.loop import Watcher


def write_clips(folder: Path, clips: int = 4, frames: int = 7) -> Path:
    """Folders of frames in which a bright square crosses noise."""
    for seed in range(clips):
        clip = folder / f"clip{seed}"
        clip.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        scene = rng.integers(0, 120, (24, 36, 3), dtype=np.uint8)
        for i in range(frames):
            frame = scene.copy()
            frame[6:16, 2 + 3 * i : 12 + 3 * i] = rng.integers(180, 256, 3)
            Image.fromarray(frame).save(clip / f"{i:03d}.png")
    return folder


class Stopped(Watcher):
    """Ends a run after some steps, as a power cut would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stepped(self, record) -> None:
        if record.step == self.after:
            raise KeyboardInterrupt
