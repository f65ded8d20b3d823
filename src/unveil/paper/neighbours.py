"""Which rows lie within tau of each other, without comparing every row with every other in full.

Along a few directions distances are known to within a bound (`paper.directions`). That decides all
but one pair in a hundred and fifty on rendered videos; only those are compared over all keys. The
answers are those of the full comparison.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.divergence import log
from unveil.paper.directions import Directions, Sketch

BLOCK = 128
"""Rows whose neighbours are found together."""
ANCHORS = 256
"""Evenly spread rows; those nearest to one of them are a bunch, and are summed up together."""
BUNCH = 48
"""Rows in a bunch at most: a float64 holds exactly which of up to 53 a row is near to."""
SCATTERED = 0.2
"""Where fewer of the pairs of a block are asked for, each alone costs less than the block."""


@dataclass(frozen=True)
class _Compared:
    """Distributions [n, m], with what their distances are made of: logarithms, and sums of both."""

    rows: Float[Tensor, "n m"]
    logs: Float[Tensor, "n m"]
    entropy: Float[Tensor, " n"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n m"]) -> "_Compared":
        logs = log(rows)
        return cls(rows, logs, torch.linalg.vecdot(rows, logs))

    def distances(
        self, some: Int[Tensor, " a"], each: Int[Tensor, " e"], others: Int[Tensor, " e"]
    ) -> Float[Tensor, " e"]:
        """Symmetric KL of pairs: some[each], in rising order, with others."""
        columns, at = others.unique(return_inverse=True)
        if len(each) >= SCATTERED * len(some) * len(columns):
            return self._block(some, columns)[each, at]
        starts = F.pad(torch.bincount(each, minlength=len(some)).cumsum(0), (1, 0))
        own, shape = self.entropy[some][each] + self.entropy[others], (len(some), len(self.rows))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            pairs = torch.sparse_csr_tensor(starts, others, own, shape, check_invariants=False)
        pairs = torch.sparse.sampled_addmm(pairs, self.rows[some], self.logs.T, alpha=-1)
        return torch.sparse.sampled_addmm(pairs, self.logs[some], self.rows.T, alpha=-1).values()

    def _block(self, some: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Float[Tensor, "a b"]:
        found = self.entropy[some][:, None] + self.entropy[others]
        found.addmm_(self.rows[some], self.logs[others].T, alpha=-1)
        return found.addmm_(self.logs[some], self.rows[others].T, alpha=-1)


@dataclass(frozen=True)
class Neighbours:
    """Rows [n, M] that sum to 1, ready to be asked which of them lie within tau of each other.

    full: the rows. sketch: what they are along the directions. Peak memory: rows and their logs.
    """

    full: _Compared
    directions: Directions
    sketch: Sketch
    tau: float

    @classmethod
    def of(
        cls, rows: Float[Tensor, "n m"], tau: float, directions: Directions | None = None
    ) -> "Neighbours":
        """Prepare rows. directions: by default those in which these rows vary most."""
        full = _Compared.of(rows)
        directions = directions or Directions.of(full.rows, full.logs)
        return cls(full, directions, directions.sketch(full.rows, full.logs), tau)

    def near(self, some: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Bool[Tensor, "a b"]:
        """Whether each of some lies within tau of each of others."""
        return self._near(some, others, self.sketch[some], self.sketch[others])

    def _near(
        self, some: Int[Tensor, " a"], others: Int[Tensor, " b"], these: Sketch, those: Sketch
    ) -> Bool[Tensor, "a b"]:
        least = these.at_least(those)
        near = least <= self.tau
        each, at = near.nonzero(as_tuple=True)
        unsure = least[each, at] + these.spread(each, those, at) > self.tau
        each, at = each[unsure], at[unsure]
        if len(each):
            near[each, at] = self.full.distances(some, each, others[at]) <= self.tau
        return near

    def sums(self) -> Float[Tensor, "n m"]:
        """For each row the sum of the rows within tau of it, itself included.

        Each pair is looked at once. Cost: n² products of the directions, and of M for what they
        leave undecided. Peak memory: the sums, and a byte a pair.
        """
        rows, bunches = self.full.rows, self._bunches()
        n, order = len(rows), torch.cat(bunches)
        sketch = self.sketch[order]  # in this order those alike lie together
        near = torch.zeros(n, n, dtype=torch.bool, device=rows.device)
        for start in range(0, n, BLOCK):
            part, left = slice(start, start + BLOCK), slice(start, None)
            found = self._near(order[part], order[left], sketch[part], sketch[left])
            near[part, left], near[left, part] = found, found.T
        near.fill_diagonal_(True)
        total = torch.empty_like(rows)
        for bunch, of_bunch in zip(bunches, near.split([len(b) for b in bunches]), strict=True):
            touched = of_bunch.any(0).nonzero().flatten()
            total[bunch] = self._sum(of_bunch[:, touched], order[touched])
        return total

    def _bunches(self) -> list[Int[Tensor, " a"]]:
        """All rows, those nearest to one of the anchors together."""
        n, device = len(self.full.rows), self.full.rows.device
        anchors = torch.linspace(0, n - 1, min(ANCHORS, n), device=device).long()
        nearest = self.sketch[anchors].at_least(self.sketch).argmin(0)
        sizes = torch.bincount(nearest, minlength=len(anchors)).tolist()
        alike = nearest.argsort(stable=True).split(sizes)
        return [bunch for some in alike for bunch in some.split(BUNCH) if len(bunch)]

    def _sum(self, near: Bool[Tensor, "a b"], others: Int[Tensor, " b"]) -> Float[Tensor, "a m"]:
        """The sum of those of others that are near each of a bunch.

        Others that are near to the same ones of it are added up once for all of them.
        """
        bits = 2.0 ** torch.arange(len(near), dtype=torch.float64, device=near.device)
        which, alike = (bits @ near.double()).sort()
        counts = which.unique_consecutive(return_counts=True)[1]
        starts = counts.cumsum(0) - counts
        sums = F.embedding_bag(others[alike], self.full.rows, starts, mode="sum")
        return near[:, alike[starts]].to(sums.dtype) @ sums
