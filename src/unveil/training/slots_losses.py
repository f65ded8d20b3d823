"""The losses of slot models, by name: what is reconstructed, where patches go, slots told apart."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.training.recipe import check_positive


@dataclass(frozen=True)
class SlotLossSettings:
    """Weights of the losses, and their constants; a loss of weight 0 is left out."""

    reconstruction: float = 1.0
    """Weight of the mean squared error of the features."""
    similarity: float = 0.1
    """Weight of the temporal similarity (VideoSAUR: 0.1)."""
    similarity_temperature: float = 0.15
    """Of the similarities of keys (VideoSAUR: .15 with DINOv2, .25 with DINO)."""
    contrast: float = 0.0
    """Weight of the contrast of slots (SlotContrast: 0.5)."""
    contrast_temperature: float = 0.1
    """Of the similarities of slots (SlotContrast: 0.1)."""

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        check_positive(self, "similarity_temperature", "contrast_temperature")
        if not self.reconstruction + self.similarity + self.contrast > 0:
            raise TrainingError("recipe: all losses have weight 0, there is nothing to train for")

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses that count, by name."""
        every = ("reconstruction", "similarity", "contrast")
        return {name: getattr(self, name) for name in every if getattr(self, name)}


def reconstruction(
    outputs: Float[Tensor, "b t n c"], features: Float[Tensor, "b t n c"]
) -> Float[Tensor, ""]:
    """The mean squared error of features (Seitzer et al., DINOSAUR, arXiv 2209.14860)."""
    return F.mse_loss(outputs, features)


def temporal_similarity(
    logits: Float[Tensor, "b s n n"], keys: Float[Tensor, "b t n c"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of where each patch goes next (VideoSAUR, arXiv 2306.04829, section 3.2).

    With k of length 1, the target of patch i is softmax over j, in the next frame, of k_i·k_j / τ,
    j with a similarity below 0 left out (all count where none is left). logits: what the decoder
    says of it, of all frames but the last (s = t - 1).
    """
    with torch.no_grad():
        k = F.normalize(keys, dim=-1)
        near = k[:, :-1] @ k[:, 1:].transpose(-1, -2)
        far = near < 0
        near = near.masked_fill(far & ~far.all(-1, keepdim=True), -torch.inf)
        near = near.masked_fill(far.all(-1, keepdim=True), 0.0)
        target = (near / temperature).softmax(-1)
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def slot_contrast(slots: Float[Tensor, "b t k d"], temperature: float) -> Float[Tensor, ""]:
    """Each slot against all slots of the next frame, those of the other clips of the batch too
    (SlotContrast, arXiv 2412.14295, its slot-slot contrastive loss with batch contrast).

    With s of length 1: the mean over frames t and slots i of -log of the softmax over j, at j = i,
    of s_{t,i}·s_{t+1,j} / τ.
    """
    s = F.normalize(slots, dim=-1).transpose(0, 1).flatten(1, 2)
    logits = s[:-1] @ s[1:].transpose(1, 2) / temperature
    own = torch.arange(s.shape[1], device=s.device).expand(len(s) - 1, -1)
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())
