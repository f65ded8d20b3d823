"""What moves against the dominant motion: a planted square over a panning texture."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unveil.cluster.micro import Grouper
from unveil.motion import residual_motion, shrink
from unveil.types import Features

H, W = 8, 12


def panning(t: int = 7, pan: float = 3, own: float = -4) -> tuple[np.ndarray, np.ndarray]:
    """Frames 96x144 that pan, with a square moving the other way; patches of the square."""
    rng = np.random.default_rng(0)
    far, near = (gaussian_filter(rng.random((96, 400)), 2) for _ in range(2))
    far, near = ((x - x.min()) / np.ptp(x) * 255 for x in (far, near))
    frames, inside = [], np.zeros((t, H, W), bool)
    for i in range(t):
        x = int(70 + own * i)
        frame = far[:, int(pan * i) : int(pan * i) + 144].copy()
        frame[36:72, x : x + 36] = near[36:72, :36]
        frames.append(np.repeat(frame[..., None], 3, 2).astype(np.uint8))
        inside[i, 3:6, (x + 6) // 12 : (x + 42) // 12] = True
    return np.stack(frames), inside


def test_the_dominant_motion_is_taken_out():
    frames, inside = panning()
    found = residual_motion(shrink(frames, H, W), 3).numpy()
    assert found.mean() == pytest.approx(1, abs=1e-4)
    assert np.median(found[inside[3]]) > 4 * np.median(found[~inside[3]])


def test_one_frame_has_no_motion_and_two_have():
    frames, _ = panning(2)
    grey = shrink(frames, H, W)
    assert residual_motion(grey[:1], 0) is None
    assert residual_motion(grey, 1).shape == (H, W)


def test_flat_frames_and_tiny_grids_are_no_trouble():
    flat = np.full((3, 20, 20, 3), 7, np.uint8)
    for h, w in ((1, 1), (2, 3), (5, 5)):
        assert torch.isfinite(residual_motion(shrink(flat, h, w), 1)).all()


def test_groups_know_how_fast_they_are_whatever_the_chunks():
    frames, inside = panning(11)
    keys = torch.randn(11, H, W, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    keys[torch.from_numpy(inside)] += 1

    def group(chunk: int):
        grouper = Grouper(groups=12)
        for i in range(0, 11, chunk):
            grouper.add(Features(keys[i : i + chunk], 12), frames[i : i + chunk])
        return grouper.finish()

    groups = group(11)
    square = np.bincount(groups.ids[inside], minlength=len(groups)) > 0.9 * groups.counts.numpy()
    known = groups.measured.numpy() > 0
    assert groups.motion.numpy()[square & known].mean() > 2
    assert groups.motion.numpy()[~square & known].mean() < 1
    torch.testing.assert_close(group(3).motion, groups.motion)
