"""Distances between rows, known to within a bound from a few numbers of each.

With w the mean row, x = sqrt(w) (log p - the mean of log p) and y = (p - w) / sqrt(w), the
symmetric KL of two rows is (x_i - x_j) · (y_i - y_j). The logarithms of attention rows lie almost
wholly along a few directions. Along them the product is known; what lies beside them is worth
(|x_i| + |x_j|) (|y_i| + |y_j|) at most (Cauchy and Schwarz).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unveil.attention.divergence import log

DIRECTIONS = 128
"""Directions that rows are looked at along: more leave less undecided and cost more to look at."""
SAMPLED = 512
"""Rows, evenly spread, whose logarithms say which directions these are."""
ROUNDING = 1e-5
"""Share of a squared length that is never taken for known: a product of 128 fp32 entries is wrong
by no more of the product of both lengths."""
_PIECE = 64  # rows worked on at once, so that they stay in the processor's cache


@dataclass(frozen=True)
class Sketch:
    """What n rows are along d directions, and how long the rest of each is.

    x, y: [n, d + 1] coordinates of the logarithms and of the rows, then the length of what lies
    beside the directions. own: [n] the product of both, of the last the negative.
    """

    x: Float[Tensor, "n e"]
    y: Float[Tensor, "n e"]
    own: Float[Tensor, " n"]

    def __getitem__(self, some: Int[Tensor, " a"] | slice) -> "Sketch":
        """The sketch of some of the rows."""
        return Sketch(self.x[some], self.y[some], self.own[some])

    def at_least(self, others: "Sketch") -> Float[Tensor, "a b"]:
        """A lower bound of the symmetric KL of each row with each of others."""
        found = self.own[:, None] + others.own
        return found.addmm_(self.x, others.y.T, alpha=-1).addmm_(self.y, others.x.T, alpha=-1)

    def spread(
        self, each: Int[Tensor, "..."], others: "Sketch", at: Int[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """How much more than that it may be, for the rows `each` and those `at` of others."""
        x = self.x[each, -1] + others.x[at, -1]
        return x.mul_(self.y[each, -1] + others.y[at, -1]).mul_(2)


@dataclass(frozen=True)
class Directions:
    """Directions that the logarithms of rows over m keys mostly lie along.

    mean, mean_log: [m] of the rows and of their logarithms. basis: [m, d], orthonormal, the
    direction that matters most first.
    """

    mean: Float[Tensor, " m"]
    mean_log: Float[Tensor, " m"]
    basis: Float[Tensor, "m d"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n m"], logs: Float[Tensor, "n m"]) -> "Directions":
        """The directions in which the logarithms of a sample of rows vary most."""
        n, m = rows.shape
        mean, mean_log = rows.mean(0).clamp_min_(torch.finfo(rows.dtype).tiny), logs.mean(0)
        some = torch.linspace(0, n - 1, min(SAMPLED, n), device=rows.device).long()
        x = (logs[some] - mean_log) * mean.sqrt()
        weights = torch.linalg.eigh(x @ x.T)[1].flip(1)
        basis = torch.linalg.qr(x.T @ weights[:, : min(DIRECTIONS, m)])[0]
        return cls(mean, mean_log, basis.contiguous())

    def first(self, directions: int) -> "Directions":
        """Those alone that matter most."""
        return Directions(self.mean, self.mean_log, self.basis[:, :directions].contiguous())

    def sketch(self, rows: Float[Tensor, "n m"], logs: Float[Tensor, "n m"]) -> Sketch:
        """What rows are along the directions; they need not be those that gave them."""
        scale = self.mean.sqrt()
        x = self._coordinates(logs, self.mean_log, scale)
        y = self._coordinates(rows, self.mean, 1 / scale)
        own = torch.linalg.vecdot(x, y) - 2 * x[:, -1] * y[:, -1]
        return Sketch(x, y, own)

    def nearest(
        self, sketch: Sketch, centres: Float[Tensor, "k m"]
    ) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Which centre is nearest to each row of a sketch, and whether it surely is."""
        seen = self.sketch(centres, log(centres))
        least = seen.at_least(sketch)
        k, n = (torch.arange(size, device=least.device) for size in least.shape)
        most = least + seen.spread(k[:, None], sketch, n)
        possible = least <= most.amin(0)
        return possible.int().argmax(0), possible.sum(0) == 1

    def _coordinates(
        self, of: Float[Tensor, "n m"], origin: Float[Tensor, " m"], scale: Float[Tensor, " m"]
    ) -> Float[Tensor, "n e"]:
        """Along the directions, and the length beside them, at least what rounding may hide."""
        d = self.basis.shape[1]
        found = of.new_empty(len(of), d + 1)
        for i in range(0, len(of), _PIECE):
            some = (of[i : i + _PIECE] - origin).mul_(scale)
            found[i : i + _PIECE, :d] = some @ self.basis
            found[i : i + _PIECE, d] = torch.linalg.vecdot(some, some)
        known, square = found[:, :d], found[:, d]
        left = (square - torch.linalg.vecdot(known, known)).clamp_min_(0)
        found[:, d] = left.add_(square, alpha=ROUNDING).sqrt_()
        return found
