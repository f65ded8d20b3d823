"""The second level: a few hundred prototypes for the whole video, and the tree of their merges.

A row is what the published method calls one, a distribution of attention over keys, but over
prototypes that are weighted by how many patches they stand for: a row of M entries says what a
row over all keys would. Linkage is average, weighted by patches, so that the tree is that of the
patches and not of what they are summed up by.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention import TEMPERATURE, Block
from unveil.cluster.micro import PIECE, Groups, lloyd, weighted_sums

PROTOTYPES = 256
"""Prototypes a video, at most."""
ROUNDS = 10
SCRAP = 0.02
"""A piece of less than this share of what is cut is made only when nothing larger is left."""


@dataclass(frozen=True)
class Prototypes:
    """What a video's groups are summed up by.

    keys: [M, C] mean keys. mass: [M] patches each stands for, > 0. member: [G] the prototype of
    every group. mean: [C] mean key of all patches.
    """

    keys: Float[Tensor, "m c"]
    mass: Float[Tensor, " m"]
    member: Int[Tensor, " g"]
    mean: Float[Tensor, " c"]


@torch.inference_mode()
def summarise(groups: Groups, count: int = PROTOTYPES, seed: int = 0) -> Prototypes:
    """K-means of the groups' centred keys, each group weighted by its patches.

    Cost: linear in the groups. Peak memory: their keys once more. seed: of the groups that the
    centres start from.
    """
    mean = groups.counts @ groups.keys / groups.counts.sum()
    unit = groups.keys - mean
    F.normalize(unit, dim=1, out=unit)
    start = torch.randperm(len(unit), generator=torch.Generator().manual_seed(seed))[:count]
    _, member = lloyd(unit, unit[start], groups.counts, ROUNDS)
    used, member = member.unique(return_inverse=True)
    mass = groups.counts.new_zeros(len(used)).index_add_(0, member, groups.counts)
    total = weighted_sums(groups.keys, member, groups.counts, len(used))
    return Prototypes(total / mass[:, None], mass, member, mean)


@torch.inference_mode()
def rows(
    queries: Float[Tensor, "n c"],
    prototypes: Prototypes,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "n m"]:
    """Attention of keys to the prototypes, each weighted by its mass; rows sum to 1.

    queries: [N, C] keys as the backbone gave them. block: the trained block; without one, cosine
    similarity of the centred keys over a temperature.
    """
    prior = prototypes.mass.log()
    if block is None:
        a = F.normalize(queries - prototypes.mean, dim=1)
        b = F.normalize(prototypes.keys - prototypes.mean, dim=1)
        return (a @ b.T / temperature + prior).softmax(1)
    q, _ = block.queries_keys(block.centre(queries, prototypes.mean))
    _, k = block.queries_keys(block.centre(prototypes.keys, prototypes.mean))
    heads, d = q.shape[1:]
    out = queries.new_zeros(len(queries), len(prior))
    for head in range(heads):
        out += (q[:, head] @ k[:, head].T * d**-0.5 + prior).softmax(1)
    return out / heads


def attend(
    queries: Float[Tensor, "n c"],
    values: Float[Tensor, "m k"],
    prototypes: Prototypes,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "n k"]:
    """Values of the prototypes as the rows of keys see them, `rows` @ values, without all rows."""
    parts = queries.split(PIECE)
    return torch.cat([rows(part, prototypes, block, temperature) @ values for part in parts])


def link(d: Float[np.ndarray, "l l"], mass: Float[np.ndarray, " l"]) -> Float[np.ndarray, "e 4"]:
    """The merge tree of weighted leaves, as a SciPy linkage [L-1, 4]: two nodes, height, leaves.

    d: symmetric distances. mass: patches. Height is the distance averaged over pairs of patches.
    Cost: cubic in L, which is bounded: 0.1 s at 512.
    """
    m = len(d)
    d = d.astype(float, copy=True)
    np.fill_diagonal(d, np.inf)
    weight, leaves = mass.astype(float, copy=True), np.ones(m)
    node = np.arange(m)
    out = np.zeros((m - 1, 4))
    for step in range(m - 1):
        a, b = sorted(divmod(int(d.argmin()), m))
        out[step] = (*sorted((node[a], node[b])), d[a, b], leaves[a] + leaves[b])
        merged = (weight[a] * d[a] + weight[b] * d[b]) / (weight[a] + weight[b])
        merged[[a, b]] = np.inf
        d[a], d[:, a] = merged, merged
        d[b], d[:, b] = np.inf, np.inf
        weight[a], leaves[a], node[a] = weight[a] + weight[b], leaves[a] + leaves[b], m + step
    return out


def cut(
    tree: Float[np.ndarray, "e 4"], keep: np.ndarray, mass: Float[np.ndarray, " l"], pieces: int
) -> np.ndarray:
    """Cut the tree of the kept leaves into a number of pieces, by undoing its highest merges.

    Merges of next to nothing with something (`SCRAP`) are undone last, however high they are.
    keep: bool [L]. mass: patches. Returns int [L]: 0 for leaves not kept, pieces 1 … in the order
    of their first leaf; fewer than asked for where there are fewer leaves.
    """
    below = np.concatenate((np.where(keep, mass, 0), np.zeros(len(tree))))
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        below[len(keep) + step] = below[a] + below[b]
    merges = np.array(_between(tree, keep), int)
    lesser = below[tree[merges, :2].astype(int)].min(axis=1)
    lowest_first = np.argsort(lesser >= SCRAP * below[: len(keep)].sum(), kind="stable")
    kept = merges[lowest_first][: max(0, len(merges) + 1 - pieces)]
    return _join(tree, keep, kept.tolist())


def cut_below(tree: Float[np.ndarray, "e 4"], keep: np.ndarray, height: float) -> np.ndarray:
    """Like `cut`, undoing every merge of kept leaves above a height in nats."""
    return _join(tree, keep, [i for i in _between(tree, keep) if tree[i, 2] <= height])


def _between(tree: np.ndarray, keep: np.ndarray) -> list[int]:
    """Indices of merges that join kept leaves on both sides, lowest first."""
    m = len(keep)
    has = np.zeros(2 * m - 1, bool)
    has[:m] = keep
    found = []
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        has[m + step] = has[a] or has[b]
        if has[a] and has[b]:
            found.append(step)
    return found


def _join(tree: np.ndarray, keep: np.ndarray, merges: list[int]) -> np.ndarray:
    m = len(keep)
    # A node stands for one of the kept leaves below it; joined leaves point at each other.
    leaf = np.full(2 * m - 1, -1)
    leaf[:m] = np.where(keep, np.arange(m), -1)
    root = np.arange(m)
    wanted = set(merges)
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        leaf[m + step] = leaf[a] if leaf[a] >= 0 else leaf[b]
        if step in wanted:
            root[root == root[leaf[b]]] = root[leaf[a]]
    out = np.zeros(m, int)
    kept = np.flatnonzero(keep)
    _, first, inverse = np.unique(root[kept], return_index=True, return_inverse=True)
    out[kept] = first.argsort().argsort()[inverse] + 1
    return out
