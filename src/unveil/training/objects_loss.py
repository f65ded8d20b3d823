"""What the objects' head is trained to say of composites.

Objectness: the binary cross-entropy with the share of a patch that is things', where everything in
it is known. Sameness: of all pairs of patches that are surely of a thing, in one frame or in
two of the composite, the binary cross-entropy with whether it is the same one; a thing's own pairs
weigh together as much as those with others. Pairs of different composites are never compared.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.objects_head import ObjectsHead

SURE = 0.6
"""Share of a patch from which it stands for a thing in pairs."""
KNOWN = 0.1
"""Share of what is not known, from which a patch says nothing of objectness."""


@dataclass(frozen=True)
class HeadLosses:
    """The losses of a composite; `total` is what is minimised."""

    objectness: Float[Tensor, ""]
    sameness: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Objectness plus sameness."""
        return self.objectness + self.sameness


def composite_losses(
    head: ObjectsHead,
    keys: Float[Tensor, "t h w c"],
    shares: Float[Tensor, "k t h w"],
    unsure: Float[Tensor, "t h w"],
    own: int,
    pairs: int,
    generator: torch.Generator,
) -> HeadLosses:
    """Losses of one composite.

    own: so many things come first that were in the background already. They are objects, but
    whether each is one or two people is not known: pairs are of pasted things alone. pairs: patches
    drawn, of which every pair is compared.
    """
    logits, embedding = head(keys)
    known = unsure < KNOWN
    objectness = objectness_loss(logits, shares.sum(0), known)
    if len(shares) == own:
        return HeadLosses(objectness, embedding.sum() * 0)
    most, thing = shares[own:].max(0)
    sure = torch.nonzero(most.flatten() > SURE)[:, 0]
    chosen = sure[torch.randperm(len(sure), generator=generator)[:pairs]]
    e, of = embedding.flatten(0, 2)[chosen], thing.flatten()[chosen]
    return HeadLosses(objectness, sameness_loss(head, e, of))


def objectness_loss(
    logits: Float[Tensor, "t h w"], share: Float[Tensor, "t h w"], known: Bool[Tensor, "t h w"]
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy in nats over the patches of which everything is known."""
    each = F.binary_cross_entropy_with_logits(logits, share.clamp(0, 1), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)


def sameness_loss(
    head: ObjectsHead, embedding: Float[Tensor, "n e"], thing: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of all pairs, those of one thing and those of two weighing alike.

    0 where there are not both kinds: what shows one thing alone would only teach that all is one.
    """
    square = (embedding[:, None] - embedding[None]).square().sum(-1)
    logits = head.offset - square
    same = thing[:, None] == thing[None]
    other = ~torch.eye(len(thing), dtype=torch.bool, device=same.device)
    kinds = same & other, ~same
    if not all(kind.any() for kind in kinds):
        return embedding.sum() * 0
    each = F.binary_cross_entropy_with_logits(logits, same.to(logits), reduction="none")
    return sum((0.5 * each[kind].mean() for kind in kinds), embedding.sum() * 0)
