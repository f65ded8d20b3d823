"""A projection of keys, and prototypes that its patches are nearest to: TimeT's head.

TimeT (Salehi et al., "Time does tell", arXiv 2308.11796) fine-tunes the last blocks of a backbone
by way of such a head. Here the backbone is frozen and the head alone is trained, so its figures are
not TimeT's. Of patch i of frame t, x its key in standard form:

    z = head(x) / |head(x)|        [width]
    s_k = z . c_k, |c_k| = 1       its score with prototype k, a cosine
    masks: softmax over k of s_k / temperature

The head and its sizes, the number of prototypes, their cosines and the temperature are those of the
released code (SMSD75/Timetuning, `time_tuning.py` and `models.py`): linear layers 1024, 1024, 512
and 256 wide with GELU between them; 200 prototypes of length 1, drawn from a normal distribution.

Not as published: there a video is segmented by k-means of the fine-tuned backbone's tokens, and
head and prototypes are thrown away. With a frozen backbone only they learn anything, so masks are
taken from them: prototype k is mask k, in every frame and every video.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import WeightsError
from unveil.slots.layers import KeysModel
from unveil.slots.settings import MOST


@dataclass(frozen=True)
class PrototypeSettings:
    """The shape of a model of prototypes; the defaults are TimeT's. Raises WeightsError for values
    that make no sense.
    """

    prototypes: int = 200
    """K, each a mask."""
    hidden: tuple[int, ...] = (1024, 1024, 512)
    """Widths of the head's hidden layers."""
    width: int = 256
    """Of the head's output and the prototypes."""
    temperature: float = 0.1
    """Of scores, in training and in masks."""

    def __post_init__(self) -> None:
        check_fields(self, "model of prototypes: ", WeightsError)
        if not 1 <= self.prototypes <= MOST:
            raise WeightsError(
                f"model of prototypes: prototypes must be 1 to {MOST}, got {self.prototypes}"
            )
        if min((self.width, *self.hidden)) < 1:
            raise WeightsError("model of prototypes: width and hidden must be at least 1")
        if not self.temperature > 0:
            raise WeightsError(
                f"model of prototypes: temperature must be positive, got {self.temperature}"
            )


class PrototypeModel(KeysModel):
    """A head and prototypes for keys of C channels on a grid of h x w patches.

    >>> model = PrototypeModel(PrototypeSettings(prototypes=3), channels=11, grid=(2, 5))
    >>> model(torch.randn(1, 4, 2, 5, 11)).shape
    torch.Size([1, 4, 10, 3])
    """

    def __init__(self, settings: PrototypeSettings, channels: int, grid: tuple[int, int]) -> None:
        super().__init__(channels, grid)
        self.settings = settings
        widths, layers = (channels, *settings.hidden, settings.width), list[nn.Module]()
        for inner, outer in itertools.pairwise(widths):
            layers += [nn.Linear(inner, outer), nn.GELU()]
        self.head = nn.Sequential(*layers[:-1])
        first = torch.randn(settings.prototypes, settings.width)
        self.prototypes = nn.Parameter(F.normalize(first, dim=-1))

    @property
    def count(self) -> int:
        """Masks a frame."""
        return self.settings.prototypes

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the prototypes back to length 1, as is done for every step of training."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))

    def forward(self, keys: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t n k"]:
        """Scores of patches with prototypes of length 1."""
        z = F.normalize(self.head(self.standard(keys)), dim=-1)
        return z @ self.prototypes.T

    def masks(self, keys: Float[Tensor, "t h w c"]) -> Float[Tensor, "t k h w"]:
        """How much of each patch of frames is each prototype's; they sum to 1."""
        shares = (self(keys[None])[0] / self.settings.temperature).softmax(-1)
        return shares.mT.unflatten(-1, self.grid)


def new_prototypes(
    settings: PrototypeSettings, channels: int, grid: tuple[int, int], seed: int
) -> PrototypeModel:
    """A model before its first step; torch's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PrototypeModel(settings, channels, grid)
