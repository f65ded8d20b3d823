"""TimeT's head and loss as slow loops over clips, frames and patches, from the equations."""

import math

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """A vector brought to length 1."""
    return x / (x @ x).sqrt()


def score(model, key: Tensor) -> Tensor:
    """Scores [k] of one patch, from its key."""
    x = (key - model.mean) / model.scale
    for i, layer in enumerate(model.head[::2]):
        x = layer.weight @ x + layer.bias
        if i < len(model.head[::2]) - 1:  # GELU by the error function
            x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return torch.stack([unit(x) @ c for c in model.prototypes])


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assignments [n, k], scaled row by row and column by column."""
    n, k = scores.shape
    q = [[math.exp(float(s) / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        for j in range(k):
            total = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] *= n / k / total
        for i in range(n):
            total = sum(q[i])
            q[i] = [x / total for x in q[i]]
    return torch.tensor(q, dtype=torch.float64)


def forwarded(q: Tensor, features: Tensor, grid, radius, neighbours, temperature) -> Tensor:
    """What is found [n, k] of the last frame of one clip; features [t, n, c]."""
    (t, n, _), w, found = features.shape, grid[1], [list(q)]
    for frame in range(1, t):
        new = []
        for i in range(n):
            near = []
            for before in range(frame):
                for j in range(n):
                    if max(abs(i // w - j // w), abs(i % w - j % w)) <= radius:
                        cosine = float(unit(features[frame, i]) @ unit(features[before, j]))
                        near.append((cosine, before, j))
            best = sorted(near, reverse=True)[:neighbours]
            e = [math.exp(cosine / temperature) for cosine, _, _ in best]
            rows = [found[before][j] for _, before, j in best]
            new.append(sum(x / sum(e) * row for x, row in zip(e, rows, strict=True)))
        found.append(new)
    return torch.stack(found[-1])


def loss(first: Tensor, last: Tensor, features: Tensor, grid, temperature: float, settings):
    """The loss of clips: scores [b, n, k] of first and last frames, features [b, t, n, c]."""
    b, n, k = first.shape
    q = sinkhorn(first.reshape(b * n, k).detach(), settings.epsilon, settings.iterations)
    how = settings.radius, settings.neighbours, settings.forward_temperature
    total = 0.0
    for v in range(b):
        target = forwarded(q[v * n : (v + 1) * n], features[v], grid, *how)
        for i in range(n):
            e = [torch.exp(s / temperature) for s in last[v, i]]
            total = total - torch.log(e[int(target[i].argmax())] / sum(e))
    return total / (b * n)
