"""SMTC as slow loops over clips, frames, slots and patches, from the equations."""

import itertools
import math

import torch
from torch import Tensor


def norm(layer, x: Tensor) -> Tensor:
    """Layer norm of a vector."""
    return (x - x.mean()) / (x.var(unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


def line(layer, x: Tensor) -> Tensor:
    """A linear layer."""
    return layer.weight @ x + layer.bias


def perceptron(layers, x: Tensor) -> Tensor:
    """Two linear layers, ReLU between them."""
    return line(layers[2], line(layers[0], x).clamp_min(0))


def unit(x: Tensor) -> Tensor:
    """A vector brought to length 1."""
    return x / (x @ x).sqrt()


def softmax(x: list[Tensor]) -> list[Tensor]:
    """Of numbers."""
    e = [torch.exp(v) for v in x]
    return [v / sum(e) for v in e]


def attend(refine, first: list[Tensor], f: list[Tensor], steps: int, share: list[Tensor] | None):
    """Slots and their logits [k][n]; share: of each patch, what all of them may have at most."""
    k = [line(refine.k, norm(refine.norm, x)) for x in f]
    v = [line(refine.v, norm(refine.norm, x)) for x in f]
    slots, logits = list(first), []
    for step in range(steps):
        q = [line(refine.q, norm(refine.norm_slots, s)) for s in slots]
        logits = [[a @ b / math.sqrt(len(b)) for b in k] for a in q]
        won = [softmax([row[n] for row in logits]) for n in range(len(f))]
        for i, s in enumerate(slots):
            mine = [w[i] * (1.0 if share is None else share[n]) + 1e-8 for n, w in enumerate(won)]
            s = s + sum(m * x for m, x in zip(mine, v, strict=True)) / sum(mine)
            slots[i] = s + perceptron(refine.mlp, norm(refine.norm_mlp, s))
        if step == steps - 2:
            slots = [a + (s - a).detach() for a, s in zip(first, slots, strict=True)]
    return slots, logits


def see(model, frame: Tensor, before: Tensor, noise: Tensor):
    """One frame [n, c] in standard form, after another: semantics [s, c], logits [s, n], instances
    [s, p, c], logits [s, p, n], objects [s, p, c].
    """
    c, steps = frame.shape[1], model.settings.steps
    f = []
    for x in frame:
        like = torch.stack([x @ y / math.sqrt(c) for y in before])
        f.append(x + line(model.correspondence, like))
    semantics, logits = attend(model.refine, list(model.mean_slots), f, steps, None)
    shares = [softmax([row[n] for row in logits]) for n in range(len(f))]
    instances, within, objects = [], [], []
    for s, mean in enumerate(model.mean_slots):
        first = [mean + e * torch.exp(model.log_std[s]) for e in noise[s]]
        share = [shares[n][s] for n in range(len(f))]
        slots, own = attend(model.refine, first, f, steps, share)
        instances.append(torch.stack(slots))
        within.append(torch.stack([torch.stack(row) for row in own]))
        objects.append(torch.stack([unit(perceptron(model.object, x)) for x in slots]))
    rows = torch.stack([torch.stack(row) for row in logits])
    return torch.stack(semantics), rows, *(torch.stack(x) for x in (instances, within, objects))


def masks(logits: Tensor, within: Tensor) -> Tensor:
    """[s, p, n] of one frame."""
    found = torch.zeros_like(within)
    for n in range(logits.shape[1]):
        share = softmax(list(logits[:, n]))
        for s in range(len(logits)):
            for p, own in enumerate(softmax(list(within[s, :, n]))):
                found[s, p, n] = share[s] * own
    return found


def plan(cost: list[list[float]], rows: list[float], columns: list[float], epsilon, iterations):
    """The plan [n][m], rows scaled first."""
    q = [[math.exp(-x / epsilon) for x in row] for row in cost]
    for _ in range(iterations):
        for i, row in enumerate(q):
            total = sum(row)
            q[i] = [x * rows[i] / total for x in row]
        for j, want in enumerate(columns):
            total = sum(row[j] for row in q)
            for row in q:
                row[j] *= want / total
    return q


def correspondence(logits: Tensor, taught: Tensor, features: Tensor, epsilon, iterations):
    """Over clips and ordered pairs of frames, patch by patch."""
    total, count = 0.0, 0
    for b in range(len(logits)):
        for i, j in itertools.permutations(range(logits.shape[1]), 2):
            x, y = ([unit(v) for v in features[b, k]] for k in (i, j))
            cost = [[1 - float(u @ v) for v in y] for u in x]
            mass = [[float(v.abs().sum()) for v in z] for z in (x, y)]
            rows, columns = ([m / sum(z) for m in z] for z in mass)
            t = plan(cost, rows, columns, epsilon, iterations)
            for n in range(len(x)):
                p = softmax(list(logits[b, i, :, n]))
                for m in range(len(y)):
                    q = softmax(list(taught[b, j, :, m].detach()))
                    for u, v in zip(p, q, strict=True):
                        total = total - t[n][m] * v * torch.log(u + 1e-8)
            count += 1
    return total / count


def separation(logits: Tensor):
    """Over clips, frames, and pairs of semantics."""
    total, count = 0.0, 0
    for frame in logits.flatten(0, 1):
        shares = [softmax(list(column)) for column in frame.T]
        maps = [torch.stack([s[k] for s in shares]) + 1e-8 for k in range(len(frame))]
        for a, b in itertools.permutations(maps, 2):
            total, count = total + unit(a) @ unit(b), count + 1
    return total / count


def valid(semantics: Tensor, logits: Tensor, instances: Tensor, settings) -> Tensor:
    """[s, p] of one frame."""
    found = torch.zeros(instances.shape[:2], dtype=torch.bool)
    shares = [softmax(list(column)) for column in logits.T]
    for s, mean in enumerate(semantics):
        area = sum(float(x[s]) > settings.share for x in shares) / len(shares)
        for p, slot in enumerate(instances[s]):
            found[s, p] = float(unit(mean) @ unit(slot)) > settings.like and area > settings.area
    return found


def instances(seen, taught, settings):
    """Over clips, all pairs of frames, semantics and instances; matched by trying all orders."""
    total, count = 0.0, 0
    b, t, s, p, _ = seen.objects.shape
    for v, i, j, k in itertools.product(range(b), range(t), range(t), range(s)):
        mine, theirs = seen.objects[v, i, k], taught.objects[v, j, k].detach()
        orders = itertools.permutations(range(p))
        best = max(
            orders, key=lambda o: sum(float(mine[x].detach() @ theirs[y]) for x, y in enumerate(o))
        )
        of = [(w.semantics[v, f], w.logits[v, f], w.instances[v, f]) for w, f in
              ((seen, i), (taught, j))]  # fmt: skip
        counts, there = (valid(*x, settings)[k] for x in of)
        for x, own in enumerate(best):
            if not counts[x]:
                continue
            count += 1
            for y in range(p):
                if y != own:
                    near = mine[x] @ theirs[y] - settings.margin
                    total = total + near.clamp_min(0) / (p - 1)
            if there[own]:
                total = total + 1 - mine[x] @ theirs[own]
    return total / max(1, count)
