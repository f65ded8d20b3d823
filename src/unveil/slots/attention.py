"""Slot attention: slots compete for patches, and become what they won.

Locatello et al., "Object-Centric Learning with Slot Attention", arXiv 2006.15055. In one step, with
s slots, x patches, both after layer norm, and d the width:

    a = softmax over slots of (W_q s)·(W_k x) / √d         [k, n], each patch shared out
    u = Σ_n (a + ε) / (Σ_n a + ε) · W_v x                  [k, d], weighted mean a slot
    s ← GRU(u, hidden),   s ← s + MLP(LN(s))               the second where there is an MLP

*hidden* is the state that the gated unit changes: the raw slots as published there (and in SAVi,
STEVE), the normalised ones in the code of VideoSAUR and SlotContrast. STEVE's code leaves out the
perceptron in the last step of a frame.

The invariant form (Biza et al., "Invariant Slot Attention", arXiv 2302.04973; translation and
scale, as in SOLV, arXiv 2310.06907) gives each slot a place p and an extent e in the frame, and
shows it patches at their place relative to both:

    r = (g - p) / (5 e)                                    g: places in -1 … 1
    k, v = f(W_k x + W_g r),  f(W_v x + W_g r)             f: two layers of width d
    p ← Σ_n ā g,   e ← √(Σ_n ā (g - p)²)                   ā: a, weights that sum to 1 a slot

and after the last step attends once more for the places alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unveil.slots.layers import perceptron

EPSILON = 1e-8
SIGMA = 5.0
"""Extents of a slot that are one unit of its own frame of reference."""
_THIN = 1e-4
"""Least variance of places, so that the root has a gradient where a slot holds one patch."""


@dataclass(frozen=True)
class Frame:
    """Where a slot is: place and extent, x then y, in -1 … 1 of the frame."""

    place: Float[Tensor, "b k 1 xy"]
    extent: Float[Tensor, "b k 1 xy"]


@dataclass(frozen=True)
class Attended:
    """Slots after attention, and what each had of every patch; a patch's shares sum to 1.

    frame: of the invariant form.
    """

    slots: Float[Tensor, "b k d"]
    shares: Float[Tensor, "b k n"]
    frame: Frame | None = None


class _Update(nn.Module):
    """What a slot becomes of what it won."""

    def __init__(self, width: int, mlp: int, raw: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.raw = raw
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRUCell(width, width)
        hidden = [nn.LayerNorm(width), *perceptron(width, [mlp], width)] if mlp else []
        self.mlp = nn.Sequential(*hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        slots: Float[Tensor, "b k d"],
        normed: Float[Tensor, "b k d"],
        won: Tensor,
        mlp: bool = True,
    ) -> Float[Tensor, "b k d"]:
        hidden = slots if self.raw else normed
        new = self.gru(won.flatten(0, 1), hidden.flatten(0, 1)).view_as(slots)
        return new + self.dropout(self.mlp(new)) if mlp and len(self.mlp) else new


class SlotAttention(nn.Module):
    """Slot attention as published. mlp: width of the hidden layer after the gated unit, 0 for none.
    raw: the gated unit changes the raw slots, else the normalised ones. mlp_last: the perceptron
    comes in the last step too.
    """

    def __init__(self, width: int, mlp: int, raw: bool, mlp_last: bool = True) -> None:
        super().__init__()
        self.mlp_last = mlp_last
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.update = _Update(width, mlp, raw)

    def forward(
        self, slots: Float[Tensor, "b k d"], x: Float[Tensor, "b n d"], steps: int
    ) -> Attended:
        """So many steps; the shares are those of the last."""
        x = self.norm(x)
        k, v = self.k(x), self.v(x)
        shares = k.new_zeros(0)
        for step in range(steps):
            normed = self.update.norm(slots)
            shares = compete(self.q(normed) @ k.transpose(1, 2) * k.shape[-1] ** -0.5)
            mlp = self.mlp_last or step < steps - 1
            slots = self.update(slots, normed, weights(shares) @ v, mlp)
        return Attended(slots, shares)


class InvariantSlotAttention(nn.Module):
    """Slot attention that sees patches relative to where each slot is.

    count: of slots; each has a place and an extent of its own before the first step, learned, both
    drawn around 0 as in SOLV's code. So each sees the frame at another scale and mirrored or not,
    which is what tells slots apart at first: with one extent for all (.1 in Biza et al.) they stay
    alike for longer than a short training lasts. grid: x and y of the patches, see `places`.
    dropout: of what the perceptron after the gated unit adds.
    """

    grid: Tensor

    def __init__(
        self,
        width: int,
        count: int,
        mlp: int,
        grid: Float[Tensor, "n xy"],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.g = nn.Linear(2, width)
        self.f = perceptron(width, [width], width)
        self.update = _Update(width, mlp, raw=True, dropout=dropout)
        self.register_buffer("grid", grid)
        self.place = nn.Parameter(0.02 * torch.randn(count, 1, 2))
        self.extent = nn.Parameter(0.02 * torch.randn(count, 1, 2))

    def forward(
        self, slots: Float[Tensor, "b k d"], x: Float[Tensor, "b n d"], steps: int
    ) -> Attended:
        """So many steps and one more for places and shares alone."""
        x = self.norm(x)[:, None]
        k, v = self.k(x), self.v(x)
        b = len(slots)
        frame = Frame(self.place.expand(b, -1, -1, -1), self.extent.expand(b, -1, -1, -1))
        for step in range(steps + 1):
            normed = self.update.norm(slots)
            seen = self.g(relative(self.grid, frame))
            logits = (self.q(normed)[:, :, None] * self.f(k + seen)).sum(-1)
            shares = compete(logits * slots.shape[-1] ** -0.5)
            frame = located(self.grid, weights(shares))
            if step < steps:
                won = (weights(shares)[..., None] * self.f(v + seen)).sum(2)
                slots = self.update(slots, normed, won)
        return Attended(slots, shares, frame)


def compete(logits: Float[Tensor, "*b k n"]) -> Float[Tensor, "*b k n"]:
    """How much of each patch is each slot's."""
    return logits.softmax(-2)


def weights(shares: Float[Tensor, "*b k n"]) -> Float[Tensor, "*b k n"]:
    """Weights of the patches in each slot's mean; they sum to 1 a slot."""
    shares = shares + EPSILON
    return shares / shares.sum(-1, keepdim=True)


def located(grid: Float[Tensor, "n xy"], weight: Float[Tensor, "b k n"]) -> Frame:
    """Weighted mean and deviation of the places of the patches, axis by axis."""
    place = (weight @ grid)[:, :, None]
    variance = (weight[..., None] * (grid - place).square()).sum(2, keepdim=True)
    return Frame(place, variance.clamp_min(_THIN).sqrt())


def relative(grid: Float[Tensor, "n xy"], frame: Frame) -> Float[Tensor, "b k n xy"]:
    """The places of the patches in each slot's own frame of reference."""
    return (grid - frame.place) / (SIGMA * frame.extent)


def places(h: int, w: int) -> Float[Tensor, "n xy"]:
    """X and y of h x w patches, row by row, -1 … 1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)
