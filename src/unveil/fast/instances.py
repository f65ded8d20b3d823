"""Which groups of the foreground are one object, and which are two that look alike.

Prototypes know looks and not places: to them two camels are one. Here groups are followed from
block to block (`tracks`), and tracks are joined while there is more evidence for it than against:
contact over all frames in which they touch, against the frames in which a clear gap parts them.
The joining is greedy additive edge contraction (Keuper et al., "Efficient Decomposition of Image
and Mesh Graphs by Lifted Multicuts", ICCV 2015, algorithm 1). What was never there together and
looks alike is one object that left and returned.
"""

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp
from jaxtyping import Integer
from scipy import ndimage

from unveil.fast.contacts import Contacts, scaled_keys
from unveil.fast.groups import Groups, grain
from unveil.fast.state import INSIDE

APART = 1.0
"""What a frame with a gap between two parts says against joining them, for each patch of the
smaller (at the default size), in contacts of patches that look the same. By area, so that a gap
before something small, often a limb that the foreground misses a piece of, says little."""
SURELY = 0.05
"""Probability of being of an object up to which a patch counts as background in a gap: what the
foreground misses of an object does not part it."""
TOGETHER = 0.35
"""Share of its patches that an object may show while the one it is taken for is seen too."""
FOREIGN = 0.03
"""Objects less alike than this (at a cosine of 0.3) are two: less is asked than of neighbours, for
who returns has turned."""
FOREIGN_AFTER_CUT = 0.6
"""The same for two that no shot shows both. In videos put together of two, what returned kept its
id over a cut in 82 of 100, and another thing had another in 88 (`benchmarks/shots.py`)."""
LEAST = 0.01
"""Objects smaller than this share of the foreground in every shot are none."""
_SQUARE = np.zeros((3, 3, 3))
_SQUARE[1] = 1  # within a frame
_STRETCH = 128  # frames counted at once; more would only cost memory
_PAIRS = 1 << 12  # made Python's at once, for the same reason


def instances(groups: Groups, share: np.ndarray, contacts: Contacts) -> Integer[np.ndarray, " g"]:
    """The object of every group, 0 … K-1 from the largest down; -1 outside the foreground.

    share: [G], the probability of being of an object. Deterministic. Cost: linear in the frames.
    """
    inside = share > INSIDE
    track = tracks(groups, inside, contacts.time)
    joined = contract(evidence(groups.ids, share, track, contacts.all))
    label = np.array([joined.get(i, i) for i in track.tolist()])
    label[~inside] = -1
    label = reunite(groups, label)
    of_shot, shot = np.unique(groups.shot.cpu().numpy()[inside], return_inverse=True)
    at = (label[inside], shot)
    mass = np.zeros((label.max(initial=-1) + 1, len(of_shot)))
    np.add.at(mass, at, groups.counts.cpu().numpy()[inside])
    order = np.argsort(-mass.sum(1), kind="stable")
    order = order[(mass >= LEAST * mass.sum(0)).any(1)[order]]
    rank = np.full(len(mass), -1)
    rank[order] = np.arange(len(order))
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
    share: np.ndarray,
    track: Integer[np.ndarray, " g"],
    contacts: sp.csr_array,
) -> Iterator[tuple[int, int, float]]:
    """For and against every pair of tracks a < b being one object: contacts less gaps."""
    total = _balance(ids, share, track, contacts)
    for start in range(0, total.nnz, _PAIRS):
        part = slice(start, start + _PAIRS)
        some = (total.row[part].tolist(), total.col[part].tolist(), total.data[part].tolist())
        yield from ((a, b, w) for a, b, w in zip(*some, strict=True) if a != b and w != 0)


def _balance(
    ids: Integer[np.ndarray, "t h w"],
    share: np.ndarray,
    track: Integer[np.ndarray, " g"],
    contacts: sp.csr_array,
) -> sp.coo_array:
    """Contacts less gaps of tracks, [G, G]; of a track with itself too."""
    g, track = len(track), track.astype(np.int32)
    said = [_touches(share > INSIDE, track, contacts)]
    for start in range(0, len(ids), _STRETCH):
        stretch = ids[start : start + _STRETCH]
        a, b, w = _gaps(track[stretch], share[stretch])
        said.append((a, b, -w))
    a, b, w = (np.concatenate(x) for x in zip(*said, strict=True))
    del said
    return sp.coo_array((w, (a, b)), shape=(g, g)).tocsr().tocoo()


def _touches(
    inside: np.ndarray, track: Integer[np.ndarray, " g"], contacts: sp.csr_array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tracks a <= b of each contact of the foreground, and half of it: each stands twice."""
    edges = contacts.tocoo()
    keep = inside[edges.row] & inside[edges.col]
    a, b = track[edges.row[keep]], track[edges.col[keep]]
    return np.minimum(a, b), np.maximum(a, b), edges.data[keep] / 2


def _gaps(track: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What frames [t, h, w] say against pairs of tracks a < b: those on two sides of a gap."""
    inside = share > INSIDE
    part = ndimage.label(share > SURELY, _SQUARE)[0][inside]
    parts, part, size = np.unique(part, return_inverse=True, return_counts=True)
    k, frame = len(parts), np.nonzero(inside)[0]
    of_part = np.zeros(k, int)
    of_part[part] = frame
    sights, sight = np.unique(frame * (int(track.max()) + 1) + track[inside], return_inverse=True)
    names = sights % (int(track.max()) + 1)
    of_size = sp.coo_array((1 / size[part], (sight, part)), shape=(len(sights), k)).tocsr()
    left, right = _pairs(of_part)
    against = APART * np.minimum(size[left], size[right]) / grain(*inside.shape[1:])
    apart = sp.coo_array((against, (left, right)), shape=(k, k)).tocsr()
    said = (of_size @ apart @ of_size.T).tocoo()
    once = names[said.row] < names[said.col]
    return names[said.row[once]], names[said.col[once]], said.data[once]


def _pairs(of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of different places at which an ascending array holds the same, both ways round."""
    count = np.bincount(of)
    first = np.cumsum(count) - count
    left = np.repeat(np.arange(len(of)), count[of])
    right = np.arange(len(left)) - np.repeat(np.cumsum(count[of]) - count[of], count[of])
    right = right + first[of][left]
    return left[left != right], right[left != right]


def contract(edges: Iterable[tuple[int, int, float]]) -> dict[int, int]:
    """Join the pair with the most evidence for it, add up what they share, and so on while > 0.

    edges: pairs a < b, each once, and the evidence for it. Returns the node that every node with an
    edge was joined into.
    """
    near: dict[int, dict[int, float]] = {}
    heap = []
    for a, b, w in edges:
        near.setdefault(a, {})[b] = w
        near.setdefault(b, {})[a] = w
        if w > 0:
            heap.append((-w, a, b))
    into = {a: a for a in near}
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

    label: any numbers from 0, -1 outside the foreground. The most alike pair goes first. Cost: K
    objects compare K·C numbers for each that is made one with another; no table of all pairs.
    """
    names, label = np.unique(np.append(label, -1), return_inverse=True)
    label = label[:-1] - 1  # now 0 … K-1, and -1
    k = len(names) - 1
    if k < 2:
        return label
    into = _Reunion(groups, label, k).run()
    return np.where(label >= 0, into[label], -1)


class _Reunion:
    """Objects that become one, the most alike pair first; each knows its best partner.

    A partner is a lower number (so every pair is known once). When two have become one, those are
    asked again whose best partner it was, and all others look at the new one only.
    """

    def __init__(self, groups: Groups, label: np.ndarray, k: int) -> None:
        self.owner, self.frame, self.patches = _seen(groups.ids, label)
        self.mass = np.bincount(self.owner, self.patches, minlength=k)
        self.total = np.zeros((k, groups.keys.shape[1]))
        counts = groups.counts.cpu().numpy()
        for part, keys in scaled_keys(groups).pieces():
            inside = label[part] >= 0
            weighted = keys[inside] * counts[part][inside, None]
            np.add.at(self.total, label[part][inside], weighted)
        self.look = self.total / np.maximum(self.mass, 1)[:, None]
        self.shot = groups.shot.cpu().numpy()[groups.ids[:, 0, 0]][self.frame]
        self.alive = np.ones(k, bool)
        self.alike, self.partner = np.zeros(k), np.zeros(k, int)
        self.frames = len(groups.ids)

    def run(self) -> np.ndarray:
        """The object that each of the K has become: int [K]."""
        into = np.arange(len(self.mass))
        for a in range(len(into)):
            self._ask(a)
        while True:
            a = int(self.alike.argmax())
            b = int(self.partner[a])
            if self.alike[a] <= 0:
                return into
            self._join(a, b)
            into[into == a] = b

    def _ask(self, a: int) -> None:
        if a > 0:
            alike = self._alike_to(a, self.alive & (np.arange(len(self.alive)) < a))
            self.partner[a] = alike.argmax()
            self.alike[a] = alike[self.partner[a]]

    def _alike_to(self, a: int, others: np.ndarray) -> np.ndarray:
        """How alike some are to one, 0 where not enough or where they are there together; the
        others are 0.
        """
        alike = np.zeros(len(others))
        alike[others] = np.exp(-np.square(self.look[others] - self.look[a]).sum(1))
        shown = np.zeros(self.frames)
        own = self.owner == a
        shown[self.frame[own]] = self.patches[own]
        common = np.minimum(self.patches, shown[self.frame])
        together = np.bincount(self.owner, common, minlength=len(alike))
        apart = together < TOGETHER * np.minimum(self.mass, self.mass[a])
        near = np.zeros(len(others), bool)
        near[self.owner[np.isin(self.shot, self.shot[own])]] = True
        enough = alike >= np.where(near, FOREIGN, FOREIGN_AFTER_CUT)
        return np.where(apart & enough, alike, 0)

    def _join(self, a: int, b: int) -> None:
        """Object a becomes b."""
        at = np.full(self.frames, -1)
        theirs = np.flatnonzero(self.owner == b)
        at[self.frame[theirs]] = theirs
        mine = np.flatnonzero(self.owner == a)
        meet = at[self.frame[mine]]
        both = meet >= 0
        self.patches[meet[both]] += self.patches[mine[both]]
        self.owner[mine] = b
        kept = np.ones(len(self.owner), bool)
        kept[mine[both]] = False  # one entry an object and frame
        self.owner, self.frame, self.shot, self.patches = (
            x[kept] for x in (self.owner, self.frame, self.shot, self.patches)
        )
        self.total[b] += self.total[a]
        self.mass[b] += self.mass[a]
        self.look[b] = self.total[b] / max(self.mass[b], 1)
        self.alive[a], self.alike[a] = False, 0
        asked = self.alive & np.isin(self.partner, (a, b)) & (self.alike > 0)
        asked[b] = True
        alike = self._alike_to(b, self.alive & ~asked & (np.arange(len(asked)) > b))
        better = (alike > self.alike) | ((alike == self.alike) & (alike > 0) & (self.partner > b))
        self.alike[better], self.partner[better] = alike[better], b
        for i in np.flatnonzero(asked).tolist():
            self._ask(i)


def _seen(
    ids: Integer[np.ndarray, "t h w"], label: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every label in every frame that shows it: the label, the frame, its patches there."""
    found = []
    for start in range(0, len(ids), _STRETCH):
        names = label[ids[start : start + _STRETCH]]
        frame = np.arange(start, start + len(names))[:, None, None]
        pair = (names.astype(np.int64) * len(ids) + frame)[names >= 0]
        found.append(np.unique(pair, return_counts=True))
    pair, patches = (np.concatenate(x) for x in zip(*found, strict=True))
    return pair // len(ids), pair % len(ids), patches.astype(float)
