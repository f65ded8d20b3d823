"""Robust Gauss-Newton steps on one pair of frames, the Jacobian of every sample written out."""

import torch
from torch import Tensor
from torch.nn import functional as F


def fit(a: Tensor, b: Tensor, weight: Tensor, columns: int, steps: int) -> Tensor:
    """The affine map [2, 3] from a's places to b's, [H, W] each, of which the last columns move."""
    h, w = a.shape
    y, x = torch.meshgrid(*((2 * torch.arange(n) + 1) / n - 1 for n in (h, w)), indexing="ij")
    base = torch.stack((x, y, torch.ones_like(x)), -1).flatten(0, 1)[:, -columns:]
    share = (weight / weight.sum()).flatten()
    motion = torch.eye(2, 3, dtype=a.dtype)
    for _ in range(steps):
        places = F.affine_grid(motion[None], [1, 1, h, w], align_corners=False)
        warped = F.grid_sample(b[None, None], places, align_corners=False, padding_mode="border")
        warped = warped[0, 0]
        dx, dy = torch.zeros_like(a), torch.zeros_like(a)
        dx[:, 1:-1] = (warped[:, 2:] - warped[:, :-2]) / 2
        dy[1:-1] = (warped[2:] - warped[:-2]) / 2
        slopes = torch.stack((dx.flatten() * w / 2, dy.flatten() * h / 2), 1)
        jacobian = (slopes[:, :, None] * base[:, None]).flatten(1)
        error = (a - warped).flatten()
        scale = 1.5 * (error.abs() * share).sum() + 1e-3
        heavy = share / (1 + (error / scale) ** 2) ** 2
        normal = jacobian.T @ (heavy[:, None] * jacobian)
        normal = normal + (1e-6 * normal.trace() + 1e-3 / (h * w)) * torch.eye(2 * columns)
        step = torch.linalg.solve(normal, jacobian.T @ (heavy * error))
        motion[:, 3 - columns :] += step.view(2, columns)
    return motion
