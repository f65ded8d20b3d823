"""Which groups of the foreground are one object, and which are two that look alike.

Prototypes know looks and not places: to them two camels are one. Here groups are followed from
block to block (`tracks`), and tracks are joined while there is more evidence for it than against:
contact over all frames in which they touch, against the frames in which a clear gap parts them.
The joining is greedy additive edge contraction (Keuper et al., "Efficient Decomposition of Image
and Mesh Graphs by Lifted Multicuts", ICCV 2015, algorithm 1). What was never there together and
looks alike is one object that left and returned.
"""

import heapq
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from jaxtyping import Integer
from scipy import ndimage

from unveil.fast.contacts import Contacts, scaled_keys
from unveil.fast.groups import Groups

APART = 8.0
"""What a frame with a gap between two parts says against joining them, for each patch along the
side of the smaller, in contacts of patches that look the same."""
GAP = 1
"""Patches that may miss between two parts of one object."""
TOGETHER = 0.35
"""Share of its patches that an object may show while the one it is taken for is seen too."""
FOREIGN = 0.03
"""Objects less alike than this (at a cosine of 0.3) are two: less is asked than of neighbours, for
who returns has turned."""
LEAST = 0.01
"""Objects smaller than this share of the foreground are none."""
_SQUARE = np.ones((3, 3))
_STRETCH = 128  # frames counted at once; more would only cost memory


def instances(groups: Groups, inside: np.ndarray, contacts: Contacts) -> Integer[np.ndarray, " g"]:
    """The object of every group, 0 … K-1 from the largest down; -1 outside the foreground.

    inside: bool [G], the groups of the foreground. Deterministic. Cost: linear in the frames.
    """
    track = tracks(groups, inside, contacts.time)
    joined = contract(evidence(groups.ids, inside, track, contacts.all))
    label = np.array([joined.get(i, i) for i in track.tolist()])
    label[~inside] = -1
    label = reunite(groups, label)
    mass = np.bincount(label[inside], groups.counts.cpu().numpy()[inside])
    rank = np.empty(len(mass), int)
    rank[np.argsort(-mass, kind="stable")] = np.arange(len(mass))
    rank[mass < LEAST * mass.sum()] = -1
    label[inside] = rank[label[inside]]
    return label


def tracks(groups: Groups, inside: np.ndarray, time: sp.csr_array) -> Integer[np.ndarray, " g"]:
    """The first group of every group's track: groups linked to those of the next block.

    Two groups are linked when each is the one of the other's block that it touches most.
    """
    block = groups.block.cpu().numpy()
    edges = time.tocoo()
    keep = inside[edges.row] & inside[edges.col] & (block[edges.col] == block[edges.row] + 1)
    a, b, w = edges.row[keep], edges.col[keep], edges.data[keep]
    ahead, back = np.full(len(inside), -1), np.full(len(inside), -1)
    order = np.argsort(w, kind="stable")  # of those that write to one place the last remains
    ahead[a[order]], back[b[order]] = b[order], a[order]
    track = np.arange(len(inside))
    for i in np.argsort(block, kind="stable"):
        if back[i] >= 0 and ahead[back[i]] == i:
            track[i] = track[back[i]]
    return track


def evidence(
    ids: Integer[np.ndarray, "t h w"],
    inside: np.ndarray,
    track: Integer[np.ndarray, " g"],
    contacts: sp.csr_array,
) -> dict[tuple[int, int], float]:
    """For and against every pair of tracks (a < b) being one object: contacts less gaps."""
    g = len(track)
    edges = contacts.tocoo()
    keep = inside[edges.row] & inside[edges.col]
    a, b = track[edges.row[keep]], track[edges.col[keep]]
    half = edges.data[keep] / 2  # every contact stands there both ways round
    total = sp.coo_array((half, (np.minimum(a, b), np.maximum(a, b))), shape=(g, g)).tocsr()
    for start in range(0, len(ids), _STRETCH):
        stretch = ids[start : start + _STRETCH]
        found = [_gaps(track[frame], inside[frame]) for frame in stretch]
        a, b, w = (np.concatenate(x) for x in zip(*found, strict=True))
        total = total - sp.coo_array((w, (a, b)), shape=(g, g)).tocsr()
    total = total.tocoo()
    pairs = zip(total.row.tolist(), total.col.tolist(), total.data.tolist(), strict=True)
    return {(a, b): w for a, b, w in pairs if a != b and w != 0}


def _gaps(track: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What one frame says against pairs of tracks a < b: those on two sides of a gap."""
    near = ndimage.binary_dilation(inside, _SQUARE, GAP)
    part, k = ndimage.label(near, _SQUARE)
    names, of = np.unique(track[inside], return_inverse=True)
    size = np.bincount(part[inside], minlength=k + 1)
    share = np.zeros((len(names), k + 1))
    np.add.at(share, (of, part[inside]), 1)
    share /= np.maximum(size, 1)
    against = APART * np.sqrt(np.minimum(size[:, None], size))
    np.fill_diagonal(against, 0)
    w = np.triu(share @ against @ share.T, 1)
    a, b = np.nonzero(w)
    return names[a], names[b], w[a, b]


def contract(edges: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Join the pair with the most evidence for it, add up what they share, and so on while > 0.

    Returns the node that every node with an edge was joined into.
    """
    near: dict[int, dict[int, float]] = {}
    for (a, b), w in edges.items():
        near.setdefault(a, {})[b] = w
        near.setdefault(b, {})[a] = w
    into = {a: a for a in near}
    heap = [(-w, a, b) for (a, b), w in edges.items() if w > 0]
    heapq.heapify(heap)
    while heap:
        w, a, b = heapq.heappop(heap)
        if near.get(a, {}).get(b) != -w:
            continue  # of a node that is gone, or out of date
        if (len(near[a]), -a) < (len(near[b]), -b):
            a, b = b, a
        into[b] = a
        for c, more in near.pop(b).items():
            near[c].pop(b)
            if c != a:
                w = near[a].get(c, 0.0) + more
                near[a][c] = near[c][a] = w
                if w > 0:
                    heapq.heappush(heap, (-w, min(a, c), max(a, c)))
    for a in into:
        while into[into[a]] != into[a]:
            into[a] = into[into[a]]
    return into


def reunite(groups: Groups, label: Integer[np.ndarray, " g"]) -> Integer[np.ndarray, " g"]:
    """Labels in which objects that look alike and are never there together are one.

    label: any numbers from 0, -1 outside the foreground. The most alike pair goes first.
    """
    names, label = np.unique(np.append(label, -1), return_inverse=True)
    label = label[:-1] - 1  # now 0 … K-1, and -1
    k = len(names) - 1
    if k < 2:
        return label
    seen = _seen(groups.ids, label, k)
    mass = seen.sum(1).astype(float)
    total = np.zeros((k, groups.keys.shape[1]))
    inside = label >= 0
    counts = groups.counts.cpu().numpy()[inside, None]
    np.add.at(total, label[inside], scaled_keys(groups)[inside] * counts)
    while True:
        look = total / np.maximum(mass, 1)[:, None]
        alike = np.exp(-np.square(look[:, None] - look).sum(2))
        together = np.stack([np.minimum(row, seen).sum(1) for row in seen])
        apart = together < TOGETHER * np.minimum(mass[:, None], mass)
        alike = np.where(apart & np.tri(k, k=-1, dtype=bool), alike, 0)
        a, b = divmod(int(alike.argmax()), k)
        if alike[a, b] < FOREIGN:
            return label
        for sums in (total, seen, mass):
            sums[b] += sums[a]
            sums[a] = 0
        label[label == a] = b


def _seen(
    ids: Integer[np.ndarray, "t h w"], label: np.ndarray, k: int
) -> Integer[np.ndarray, "k t"]:
    """Patches of every label in every frame."""
    return np.stack([np.bincount(label[x].ravel() + 1, minlength=k + 1)[1:] for x in ids], 1)
