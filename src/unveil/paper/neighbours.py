"""Which rows lie within tau of each other, without comparing every row with every other.

Entries of two distributions that are summed up over the same bins can only bring the two closer
(the log sum inequality: Cover and Thomas, "Elements of Information Theory", theorem 2.7.1). So rows
that are further apart than tau over a hundred bins are further apart than tau over all keys, and
only the others, a tenth of all pairs on real videos, are compared in full. The answers are those
of the full comparison; what is skipped is known to be too far.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unveil.attention.divergence import log

BINS = 128
"""Bins that rows are summed up over."""
BUNCHES = 32
"""Bunches of rows alike that are compared together: more skip more pairs, in smaller products."""
SLACK = 1e-3
"""Nats by which rounding may make a distance over bins too large."""


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
        self, some: Int[Tensor, " a"], others: Int[Tensor, " b"] | slice = slice(None)
    ) -> Float[Tensor, "a b"]:
        """Symmetric KL of each of some with each of others, by default with all."""
        found = self.entropy[some][:, None] + self.entropy[others]
        found.addmm_(self.rows[some], self.logs[others].T, alpha=-1)
        return found.addmm_(self.logs[some], self.rows[others].T, alpha=-1)


@dataclass(frozen=True)
class Neighbours:
    """Rows [n, M] that sum to 1, ready to be asked which of them lie within tau of each other.

    full: the rows. coarse: the rows over b bins. anchors: [b] evenly spread rows; a bin holds the
    keys that its anchor attends to more than any other does. Peak memory: rows and their logs.
    """

    full: _Compared
    coarse: _Compared
    tau: float
    anchors: Int[Tensor, " b"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n m"], tau: float, bins: int = BINS) -> "Neighbours":
        """Prepare rows. bins: more of them skip more pairs and cost more to look at."""
        n = len(rows)
        anchors = torch.linspace(0, n - 1, min(bins, n), device=rows.device).long()
        bin_of_key = rows[anchors].argmax(0)
        coarse = rows.new_zeros(n, len(anchors)).index_add_(1, bin_of_key, rows)
        return cls(_Compared.of(rows), _Compared.of(coarse), tau, anchors)

    def may_be_near(self, some: Int[Tensor, " a"]) -> Bool[Tensor, "a n"]:
        """False where a row is known to lie further than tau from one of some."""
        return self.coarse.distances(some) <= self.tau + SLACK

    def near(self, some: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Bool[Tensor, "a b"]:
        """Whether each of some lies within tau of each of others, in full."""
        return self.full.distances(some, others) <= self.tau

    def bunches(self) -> Iterator[Int[Tensor, " a"]]:
        """All rows, those nearest to one of a few anchors together."""
        some = self.anchors[:: max(1, len(self.anchors) // BUNCHES)]
        nearest = self.coarse.distances(some).argmin(0)
        order = nearest.argsort(stable=True)
        sizes = torch.bincount(nearest, minlength=len(some)).tolist()
        return (bunch for bunch in order.split(sizes) if len(bunch))

    def sums(self) -> Float[Tensor, "n m"]:
        """For each row the sum of the rows within tau of it, itself included.

        Each pair is looked at once. Cost: n² products of b entries, and of M for the pairs of a
        bunch and whatever may be near one of it.
        """
        rows = self.full.rows
        total = torch.zeros_like(rows)
        left = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        for bunch in self.bunches():
            left[bunch] = False
            others = (self.may_be_near(bunch).any(0) & left).nonzero().flatten()
            within = self.near(bunch, bunch).fill_diagonal_(True).to(rows.dtype)
            across = self.near(bunch, others)
            touched = across.any(0)
            others, across = others[touched], across[:, touched].to(rows.dtype)
            mine, theirs = rows[bunch], rows[others]
            total[bunch] += within @ mine + across @ theirs
            total.index_add_(0, others, across.T @ mine)
        return total
