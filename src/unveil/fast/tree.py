"""The second level: a few hundred prototypes for the whole video, and the tree of their merges.

A row is what the published method calls one, a distribution of attention over keys, but over
prototypes that are weighted by how many patches they stand for: a row of M entries says what a
row over all keys would. Linkage is average, weighted by patches, so that the tree is that of the
patches and not of what they are summed up by.
"""

import numpy as np
from jaxtyping import Float, Integer

LESSER = 0.25
"""Power of the patches of its lesser side by which a merge that is undone for the sake of a number
of pieces is weighed: a rider and a bicycle differ less than a bicycle and its shadow, and are what
people mean by two."""


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
    """Cut the tree of the kept leaves into a number of pieces, by undoing its weightiest merges.

    A merge weighs its height times a power (`LESSER`) of the patches of its lesser side, so that
    slivers come last however different they are.
    keep: bool [L]. mass: patches. Returns int [L]: 0 for leaves not kept, pieces 1 … in the order
    of their first leaf; fewer than asked for where there are fewer leaves.
    """
    return cut_further(tree, keep, mass, _between(tree, keep), pieces)


def cut_further(
    tree: Float[np.ndarray, "e 4"],
    keep: np.ndarray,
    mass: Float[np.ndarray, " l"],
    merges: list[int],
    pieces: int,
) -> np.ndarray:
    """Like `cut`, from kept leaves that some merges only have joined; the others stay undone.

    merges: their indices in the tree.
    """
    below = np.concatenate((np.where(keep, mass, 0), np.zeros(len(tree))))
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        below[len(keep) + step] = below[a] + below[b]
    held = np.array(sorted(merges), int)
    lesser = below[tree[held, :2].astype(int)].min(axis=1)
    lightest_first = np.argsort(tree[held, 2] * lesser**LESSER, kind="stable")
    kept = held[lightest_first][: max(0, int(keep.sum()) - pieces)]
    return _join(tree, keep, kept.tolist())


def cut_below(tree: Float[np.ndarray, "e 4"], keep: np.ndarray, height: float) -> np.ndarray:
    """Like `cut`, undoing every merge of kept leaves above a height in nats."""
    return _join(tree, keep, merges_below(tree, keep, height))


def merges_below(tree: Float[np.ndarray, "e 4"], keep: np.ndarray, height: float) -> list[int]:
    """Indices of the merges of kept leaves up to a height, lowest first."""
    return [i for i in _between(tree, keep) if tree[i, 2] <= height]


def seniority(
    tree: Float[np.ndarray, "e 4"], mass: Float[np.ndarray, " l"], rank: Integer[np.ndarray, " l"]
) -> Integer[np.ndarray, " l"]:
    """A number for every leaf, 0 … L-1, so that the least number of its leaves names a piece.

    rank: [L], 0 … K-1, the ranks of the pieces of one cut. Its pieces have their ranks as names.
    Where a piece is parted its larger side keeps the name, and the other has a name that comes
    after those of all sides that were parted higher up; so a piece has one name in whatever cut.
    """
    m, k = len(mass), int(rank.max(initial=-1)) + 1
    first = np.append(np.arange(m), np.zeros(len(tree), int))  # the leaf that names a node
    weight = np.append(mass, np.zeros(len(tree)))
    parted = np.full(m, len(tree))  # the merge at which a leaf's name begins
    for step, (a, b) in enumerate(tree[:, :2].astype(int)):
        if weight[a] < weight[b]:
            a, b = b, a
        first[m + step], weight[m + step] = first[a], weight[a] + weight[b]
        if rank[first[a]] == rank[first[b]]:
            parted[first[b]] = step
    name = np.where(parted == len(tree), rank, 0)
    later = np.flatnonzero(parted < len(tree))
    name[later[np.argsort(-parted[later], kind="stable")]] = np.arange(k, k + len(later))
    return name


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
