"""Slot models as slow loops over videos, slots and patches, written from the equations."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(attention, slots: Tensor, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Slot attention of one frame: slots [k, d], patches [n, d]; slots and shares [k, n]."""
    x = torch.stack([attention.norm(row) for row in x])
    k, n, d = len(slots), len(x), slots.shape[1]
    for step in range(steps):
        normed = [attention.update.norm(s) for s in slots]
        share = [[None] * n for _ in range(k)]
        for j in range(n):
            key = attention.k.weight @ x[j]
            e = [torch.exp((attention.q.weight @ s) @ key / math.sqrt(d)) for s in normed]
            for i in range(k):
                share[i][j] = e[i] / sum(e)
        new = []
        for i in range(k):
            total = sum(share[i][j] + 1e-8 for j in range(n))
            won = sum((share[i][j] + 1e-8) / total * (attention.v.weight @ x[j]) for j in range(n))
            mlp = attention.mlp_last or step + 1 < steps
            new.append(become(attention.update, slots[i], normed[i], won, mlp))
        slots = torch.stack(new)
    return slots, torch.stack([torch.stack(row) for row in share])


def attend_invariant(attention, slots: Tensor, x: Tensor, steps: int):
    """The invariant form: slots, shares [k, n], places and extents [k, 2]."""
    x = torch.stack([attention.norm(row) for row in x])
    k, n, d = len(slots), len(x), slots.shape[1]
    place = [attention.place[i, 0] for i in range(k)]
    extent = [attention.extent[i, 0] for i in range(k)]
    for step in range(steps + 1):
        normed = [attention.update.norm(s) for s in slots]
        e, values = [], []
        for i in range(k):
            seen = [attention.g((attention.grid[j] - place[i]) / (5 * extent[i])) for j in range(n)]
            keys = [attention.f(attention.k.weight @ x[j] + seen[j]) for j in range(n)]
            values.append([attention.f(attention.v.weight @ x[j] + seen[j]) for j in range(n)])
            query = attention.q.weight @ normed[i]
            e.append([torch.exp(query @ key / math.sqrt(d)) for key in keys])
        share = [[e[i][j] / sum(e[m][j] for m in range(k)) for j in range(n)] for i in range(k)]
        new = []
        for i in range(k):
            total = sum(share[i][j] + 1e-8 for j in range(n))
            w = [(share[i][j] + 1e-8) / total for j in range(n)]
            place[i] = sum(w[j] * attention.grid[j] for j in range(n))
            variance = sum(w[j] * (attention.grid[j] - place[i]) ** 2 for j in range(n))
            extent[i] = variance.sqrt()
            won = sum(w[j] * values[i][j] for j in range(n))
            new.append(become(attention.update, slots[i], normed[i], won))
        if step < steps:
            slots = torch.stack(new)
    shares = torch.stack([torch.stack(row) for row in share])
    return slots, shares, torch.stack(place), torch.stack(extent)


def become(update, slot: Tensor, normed: Tensor, won: Tensor, mlp: bool = True) -> Tensor:
    """The gated unit written out (Cho et al., 2014, as torch has it), then the perceptron."""
    h = slot if update.raw else normed
    gru = update.gru
    a = (gru.weight_ih @ won + gru.bias_ih).chunk(3)
    b = (gru.weight_hh @ h + gru.bias_hh).chunk(3)
    r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
    new = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
    return new + update.mlp(new) if mlp and len(update.mlp) else new


def heads(attention, rows: Tensor, m: Tensor) -> Tensor:
    """Attention of several heads, written out: rows [n, d] look at m [m, d]."""
    count, d = attention.num_heads, rows.shape[1]
    wq, wk, wv = attention.in_proj_weight.chunk(3)
    bq, bk, bv = attention.in_proj_bias.chunk(3)
    side, mixed = d // count, []
    for row in rows:
        parts = []
        for a in range(count):
            s = slice(a * side, (a + 1) * side)
            q = (wq @ row + bq)[s]
            e = [torch.exp(q @ (wk @ t + bk)[s] / math.sqrt(side)) for t in m]
            parts.append(sum(e[j] / sum(e) * (wv @ m[j] + bv)[s] for j in range(len(m))))
        mixed.append(attention.out_proj(torch.cat(parts)))
    return torch.stack(mixed)


def transformer(layer, x: Tensor, memory: Tensor | None) -> Tensor:
    """One pre-norm layer over tokens [n, d], head by head."""
    y = torch.stack([layer.norm1(row) for row in x])
    x = x + heads(layer.attention, y, y if memory is None else memory)
    return torch.stack([row + layer.mlp(layer.norm2(row)) for row in x])


def broadcast(decoder, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [k, n] and outputs [n, o] of one frame."""
    n, k = len(decoder.places), len(slots)
    masks, outputs = torch.zeros(k, n).to(slots), []
    for j in range(n):
        y = [decoder.mlp(s + decoder.places[j]) for s in slots]
        e = [torch.exp(v[-1]) for v in y]
        outputs.append(sum(e[i] / sum(e) * y[i][:-1] for i in range(k)))
        masks[:, j] = torch.stack([v / sum(e) for v in e])
    return masks, torch.stack(outputs)


def mixer(decoder, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The same of the mixer."""
    memory = torch.stack([decoder.norm_memory(s) for s in slots])
    x = decoder.places
    for layer in decoder.layers:
        x = transformer(layer, x, memory)
    columns, outputs = [], []
    for j, row in enumerate(x):
        q = decoder.q.weight @ decoder.norm_q(row)
        e = [
            torch.exp(q @ (decoder.k.weight @ decoder.norm_k(s)) / math.sqrt(len(q))) for s in slots
        ]
        share = [v / sum(e) for v in e]
        mixed = sum(a * s for a, s in zip(share, slots, strict=True))
        columns.append(torch.stack(share))
        outputs.append(decoder.mlp(mixed + decoder.places[j]))
    return torch.stack(columns, 1), torch.stack(outputs)


def autoregressive(decoder, slots: Tensor, features: Tensor) -> Tensor:
    """Outputs [n, o] of one frame; a patch looks at those before it and itself, one by one."""
    memory = torch.stack([decoder.s.weight @ s for s in slots])
    before = [decoder.first[0, 0], *[decoder.x(row) for row in features[:-1]]]
    y = [row + place for row, place in zip(before, decoder.places, strict=True)]
    for layer in decoder.layers:
        z, new = torch.stack([layer.norm1(row) for row in y]), []
        for j, row in enumerate(y):
            row = row + heads(layer.self_attn, z[j : j + 1], z[: j + 1])[0]
            row = row + heads(layer.multihead_attn, layer.norm2(row)[None], memory)[0]
            new.append(row + layer.linear2(layer.linear1(layer.norm3(row)).relu()))
        y = new
    return torch.stack([decoder.output(decoder.norm(row)) for row in y])


def complete_linkage(slots: Tensor, threshold: float) -> list[set[int]]:
    """Groups by joining the two whose furthest members are nearest, while that is near enough."""
    groups = [{i} for i in range(len(slots))]

    def apart(a: set[int], b: set[int]) -> float:
        return max(1 - float(F.cosine_similarity(slots[i], slots[j], dim=0)) for i in a for j in b)

    while len(groups) > 1:
        pairs = [
            (apart(a, b), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups) if i < j
        ]
        distance, i, j = min(pairs)
        if distance >= threshold:
            break
        groups[i] |= groups.pop(j)
    return groups
