"""The published clustering, written line by line from its description, in float64 loops."""

import numpy as np


def symmetric_kl(p: np.ndarray, q: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += a * np.log(a / b) + b * np.log(b / a)
    return total


def merge_greedily(rows: list[np.ndarray], tau: float) -> list[np.ndarray]:
    taken = [False] * len(rows)
    centres = []
    for i, row in enumerate(rows):
        if taken[i]:
            continue
        members = [
            j for j in range(len(rows)) if not taken[j] and symmetric_kl(row, rows[j]) <= tau
        ]
        centres.append(sum(rows[j] for j in members) / len(members))
        for j in members:
            taken[j] = True
    return centres


def merge(rows: np.ndarray, tau: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [t, n] and centres [k, m] of rows [t, n, m]."""
    t, n, _ = rows.shape
    centres: list[np.ndarray] = []
    for start in range(0, t, window):
        tokens = [row for frame in rows[start : start + window] for row in frame]
        smoothed = []
        for row in tokens:
            near = sum(other for other in tokens if symmetric_kl(row, other) <= tau)
            smoothed.append(near / near.sum())
        centres += merge_greedily(smoothed, tau)
    while True:
        merged = merge_greedily(centres, tau)
        if len(merged) == len(centres):
            break
        centres = merged
    labels = np.zeros((t, n), int)
    for f in range(t):
        for i in range(n):
            labels[f, i] = int(np.argmin([symmetric_kl(c, rows[f, i]) for c in merged]))
    return labels, np.stack(merged)
