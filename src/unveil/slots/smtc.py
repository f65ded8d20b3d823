"""SMTC on frozen keys: semantic slots, then instance slots within what each semantics holds.

Qian et al., "Semantics Meets Temporal Correspondence", ICCV 2023, arXiv 2308.09951. Of the paper
its abstract was at hand; equations and constants are those of the released code (shvdiwnkozbw/SMTC,
`model_twostage.py`, `train.py`). S semantics, P instances each, n patches a frame, C channels; with
x the keys of a frame and y those of the frame before it:

    f = x + W_c (y·x / √C)              how like each patch is to all of the frame before
    k = W_k LN(f),   v = W_v LN(f)
    l = (W_q LN(s))·k / √C,   s ← s + Σ_n ā v,   s ← s + MLP(LN(s))

Semantic slots begin at learned means μ_s, instance slots at draws from the normal distribution
around them, μ_s + σ_s ε; both are refined by the last line, the same parameters for both, three
times. ā are weights that sum to 1 over patches (`attention.weights`): of semantic slots those of
the softmax of l over semantics, of instance slots those of the softmax over the instances of one
semantics times that semantics' share of each patch. Gradients flow through the last of the three
steps, and from there straight to where slots began.

    masks: share of the semantics times share of the instance; S·P of them, which sum to 1

Not as published: the backbone is frozen (there for the first tenth of the training; then it learns
at a hundredth of the rate), keys are in standard form and their products divided by √C. Draws have
a gradient to μ and σ, where the code's have none. The code of the last version means to cut shares
at .3 before instances attend (it cuts logits); here, as in the version before, they weigh. There,
instances whose slot is less than .5 like their semantics' are left out of a frame and proposals may
overlap; here the highest mask of all wins.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import WeightsError
from unveil.slots.attention import compete, weights
from unveil.slots.layers import KeysModel
from unveil.slots.settings import MOST


@dataclass(frozen=True)
class SmtcSettings:
    """The shape of a model; the defaults are SMTC's. Raises WeightsError for values that make no
    sense.
    """

    semantics: int = 16
    """S: kinds of things, each a learned distribution of slots."""
    instances: int = 4
    """P: slots drawn from each."""
    steps: int = 3
    """Of attention, for semantics and then for instances."""

    def __post_init__(self) -> None:
        check_fields(self, "SMTC model: ", WeightsError)
        for name in ("semantics", "instances", "steps"):
            if getattr(self, name) < 1:
                raise WeightsError(f"SMTC model: {name} must be at least 1: {getattr(self, name)}")
        if self.semantics * self.instances > MOST:
            raise WeightsError(
                f"SMTC model: semantics x instances must be at most {MOST}, got "
                f"{self.semantics * self.instances}"
            )


@dataclass(frozen=True)
class Described:
    """What a model sees in frames.

    logits: of semantics. within: of the instances of each. objects: of length 1, what instances are
    known by from frame to frame.
    """

    semantics: Float[Tensor, "b t s c"]
    logits: Float[Tensor, "b t s n"]
    instances: Float[Tensor, "b t s p c"]
    within: Float[Tensor, "b t s p n"]
    objects: Float[Tensor, "b t s p c"]

    @property
    def masks(self) -> Float[Tensor, "b t s p n"]:
        """How much of each patch is each instance's; they sum to 1 over all."""
        return self.logits.softmax(2)[:, :, :, None] * self.within.softmax(3)


class Refine(nn.Module):
    """Attention of slots to patches, with a sum in place of slot attention's gated unit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.norm_slots, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def read(self, f: Float[Tensor, "b t n c"]) -> tuple[Tensor, Tensor]:
        """Keys and values of patches."""
        normed = self.norm(f)
        return self.k(normed), self.v(normed)

    def forward(
        self,
        first: Float[Tensor, "b t g k c"],
        read: tuple[Tensor, Tensor],
        steps: int,
        share: Float[Tensor, "b t g n"] | None = None,
    ) -> tuple[Float[Tensor, "b t g k c"], Float[Tensor, "b t g k n"]]:
        """Slots and the logits of the last step. first: where they begin; those of a group compete.
        share: of each patch, what a group may have at most.
        """
        (k, v), slots, logits = read, first, first.new_zeros(0)
        for step in range(steps):
            q = self.q(self.norm_slots(slots)) * k.shape[-1] ** -0.5
            logits = torch.einsum("btgkc,btnc->btgkn", q, k)
            won = compete(logits) if share is None else compete(logits) * share[:, :, :, None]
            slots = slots + torch.einsum("btgkn,btnc->btgkc", weights(won), v)
            slots = slots + self.mlp(self.norm_mlp(slots))
            if step == steps - 2:
                slots = first + (slots - first).detach()
        return slots, logits


class SmtcModel(KeysModel):
    """A model for keys of C channels on a grid of h x w patches.

    >>> model = SmtcModel(SmtcSettings(semantics=3, instances=2), channels=11, grid=(2, 5))
    >>> keys, noise = torch.randn(1, 4, 2, 5, 11), torch.randn(1, 4, 3, 2, 11)
    >>> model(keys, keys[:, -1], noise).masks.shape
    torch.Size([1, 4, 3, 2, 10])
    """

    def __init__(self, settings: SmtcSettings, channels: int, grid: tuple[int, int]) -> None:
        super().__init__(channels, grid)
        self.settings = settings
        self.correspondence = nn.Linear(grid[0] * grid[1], channels)
        self.mean_slots = nn.Parameter(torch.randn(settings.semantics, channels))
        self.log_std = nn.Parameter(torch.zeros(settings.semantics, channels))
        self.refine = Refine(channels)
        self.object = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
        )

    @property
    def count(self) -> int:
        """Masks a frame."""
        return self.settings.semantics * self.settings.instances

    def draw(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*b s p c"]:
        """What instance slots are drawn with; generator: CPU."""
        s = self.settings
        noise = torch.randn(*shape, s.semantics, s.instances, self.channels, generator=generator)
        return noise.to(self.mean_slots)

    def forward(
        self,
        keys: Float[Tensor, "b t h w c"],
        before: Float[Tensor, "b h w c"],
        noise: Float[Tensor, "b t s p c"],
    ) -> Described:
        """See frames. before: the keys of the frame before the first. noise: see `draw`."""
        (b, t), steps = keys.shape[:2], self.settings.steps
        x = self.standard(torch.cat((before[:, None], keys), 1))
        like = x[:, 1:] @ x[:, :-1].mT * self.channels**-0.5
        read = self.refine.read(x[:, 1:] + self.correspondence(like))
        first = self.mean_slots.expand(b, t, 1, -1, -1)
        semantics, logits = (found[:, :, 0] for found in self.refine(first, read, steps))
        drawn = self.mean_slots[:, None] + noise * self.log_std.exp()[:, None]
        instances, within = self.refine(drawn, read, steps, compete(logits))
        objects = F.normalize(self.object(instances), dim=-1)
        return Described(semantics, logits, instances, within, objects)


def matched(near: Float[Tensor, "*b p q"]) -> Int[Tensor, "*b p"]:
    """Which of q is each of p's own, one to one, so that what they have in common is most
    (Kuhn, 1955). near: how alike they are; p and q are as many.
    """
    costs = -near.detach().double().cpu().flatten(0, -3).numpy()
    found = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs]
    return torch.stack(found).view(near.shape[:-1]).to(near.device)


def new_smtc(settings: SmtcSettings, channels: int, grid: tuple[int, int], seed: int) -> SmtcModel:
    """A model before its first step; torch's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmtcModel(settings, channels, grid)
