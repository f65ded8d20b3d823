"""What moves against the dominant motion, from two pairs of small grey frames.

The dominant motion, mostly the camera's, is an affine map fitted to the whole frame by robust
Gauss-Newton steps from coarse to fine. What it leaves unexplained, brightness difference over
brightness gradient, is the speed of normal flow in samples; no optical flow is computed. The
smaller of two frame pairs, one back and one ahead, is free of what was merely uncovered.

AUC of the residual against the foreground on the ten development sequences: 0.54 to 0.97, above
0.9 in five of them; lowest where parallax dominates. Cost: 30 ms, for one frame in eight.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

REACH = 3
"""Frames back and ahead."""
FINER = 4
"""Samples a patch along each side at the finest level."""
LEVELS = 3
STEPS = 8
NOISE = 20.0
"""Added to squared gradients (0 … 255 a sample): where nothing can be seen, nothing moves."""


def shrink(frames: UInt8[np.ndarray, "t H W 3"], h: int, w: int) -> Float[Tensor, "t H1 W1"]:
    """Grey frames at four samples a patch: all that is kept of a frame for its motion."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    size = (h * FINER, w * FINER)
    return F.interpolate(x, size, mode="bilinear", antialias=True).float().mean(1)


@torch.inference_mode()
def residual_motion(grey: Float[Tensor, "t H1 W1"], frame: int) -> Float[Tensor, "h w"] | None:
    """Motion of every patch of one frame against the dominant motion, 1 = the frame's mean.

    grey: what `shrink` made of some frames in a row. frame: index of the one asked about. None
    where there is no other frame to compare with.
    """
    others = {max(0, frame - REACH), min(len(grey) - 1, frame + REACH)} - {frame}
    if not others:
        return None
    found = [_residual(grey[frame], grey[other]) for other in sorted(others)]
    speed = torch.stack(found).amin(0)
    return speed / speed.mean().clamp_min(1e-6)


def _residual(a: Tensor, b: Tensor) -> Tensor:
    motion = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    for level in reversed(range(LEVELS)):
        small = [F.avg_pool2d(x[None, None], 2**level) for x in (a, b)]
        if min(small[0].shape[-2:]) > 2:
            motion = _fit_affine(*small, motion)
    a, b = a[None, None], b[None, None]
    dx, dy = _gradients(a)
    slope = dx.square() + dy.square()
    moved = (a - _warp(b, motion)).abs() * slope.sqrt()
    moved, slope = (F.avg_pool2d(F.avg_pool2d(x, 5, 1, 2), FINER) for x in (moved, slope))
    return (moved / (slope + NOISE))[0, 0]


def _fit_affine(a: Tensor, b: Tensor, motion: Tensor) -> Tensor:
    """The affine map that takes a's places to b's, from a first guess; outliers hardly count."""
    _, _, h, w = a.shape
    x, y = F.affine_grid(torch.eye(2, 3)[None], (1, 1, h, w), align_corners=False)[0].unbind(-1)
    base = torch.stack((x, y, torch.ones_like(x)), -1).flatten(0, 1)
    for _ in range(STEPS):
        warped = _warp(b, motion)
        dx, dy = (d.flatten()[:, None] for d in _gradients(warped))
        jacobian = torch.cat((dx * w / 2 * base, dy * h / 2 * base), 1)
        error = (a - warped).flatten()
        scale = error.abs().median() * 1.5 + 1e-3
        weighted = jacobian / (1 + (error / scale).square())[:, None].square()
        normal = weighted.T @ jacobian
        damping = 1e-6 * normal.trace() + 1e-3
        step = torch.linalg.solve(normal + damping * torch.eye(6), weighted.T @ error)
        motion = motion + step.view(2, 3)
    return motion


def _warp(image: Tensor, motion: Tensor) -> Tensor:
    places = F.affine_grid(motion[None], image.shape, align_corners=False)
    return F.grid_sample(image, places, align_corners=False, padding_mode="border")


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, 0 at the border."""
    dx = F.pad((x[..., 2:] - x[..., :-2]) / 2, (1, 1))
    dy = F.pad((x[..., 2:, :] - x[..., :-2, :]) / 2, (0, 0, 1, 1))
    return dx, dy
