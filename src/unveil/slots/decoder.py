"""From slots to what they say of every patch: masks, and features to hold against the real ones.

Both take slots [b, k, d] and give masks [b, k, n], which sum to 1 over the slots, and outputs
[b, n, o]; `masks` gives the first alone, all that is used of a trained model, at a fraction of the
cost.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.slots.layers import TransformerLayer, perceptron

Decoded = tuple[Float[Tensor, "b k n"], Float[Tensor, "b n o"]]


class Broadcast(nn.Module):
    """The spatial broadcast decoder with an MLP (Seitzer et al., DINOSAUR, arXiv 2209.14860).

    Each slot is given to every patch with a learned embedding e of the place, and decoded alone:

        (y, α) = MLP(s + e),   m = softmax over slots of α,   output = Σ_k m y
    """

    def __init__(self, width: int, patches: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.mlp = perceptron(width, [hidden] * layers, outputs + 1)
        self.places = nn.Parameter(torch.randn(patches, width) * width**-0.5)

    def forward(
        self, slots: Float[Tensor, "b k d"], seen: Float[Tensor, "b k n d"] | None = None
    ) -> Decoded:
        """Decode. seen: an embedding of each patch's place relative to each slot, added."""
        y, alpha = self.mlp(self._placed(slots, seen)).split((self.outputs, 1), -1)
        masks = alpha.softmax(1)
        return masks[..., 0], (masks * y).sum(1)

    def masks(
        self, slots: Float[Tensor, "b k d"], seen: Float[Tensor, "b k n d"] | None = None
    ) -> Float[Tensor, "b k n"]:
        """The masks that `forward` gives."""
        hidden, last = self.mlp[:-1](self._placed(slots, seen)), cast(nn.Linear, self.mlp[-1])
        return F.linear(hidden, last.weight[-1:], last.bias[-1:])[..., 0].softmax(1)

    def _placed(self, slots: Tensor, seen: Tensor | None) -> Float[Tensor, "b k n d"]:
        x = slots[:, :, None] + self.places
        return x if seen is None else x + seen


class Mixer(nn.Module):
    """The slot mixer (Sajjadi et al., arXiv 2206.06922), as VideoSAUR has it.

    With e a learned embedding of each place, and m = LN(s) the memory of three transformer layers:

        q = W_q LN(layers(e, m)),   a = softmax over slots of q·(W_k LN(s)) / √d
        output = W_o ReLU(MLP(Σ_k a s + e))

    The masks are a. One pass a patch, not one a patch and slot: a fraction of Broadcast's cost.
    """

    def __init__(
        self,
        width: int,
        patches: int,
        hidden: int,
        layers: int,
        outputs: int,
        blocks: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(patches, width) * width**-0.5)
        self.norm_memory, self.norm_q, self.norm_k = (nn.LayerNorm(width) for _ in range(3))
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(blocks))
        self.q, self.k = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.mlp = perceptron(width, [hidden] * layers, outputs)
        for layer in (self.q, self.k, self.mlp[-1]):
            nn.init.xavier_uniform_(cast(nn.Linear, layer).weight)

    def forward(
        self, slots: Float[Tensor, "b k d"], seen: Float[Tensor, "b k n d"] | None = None
    ) -> Decoded:
        """Decode; what is seen relative to slots means nothing here."""
        masks = self.masks(slots)
        return masks, self.mlp(masks.transpose(1, 2) @ slots + self.places)

    def masks(
        self, slots: Float[Tensor, "b k d"], seen: Float[Tensor, "b k n d"] | None = None
    ) -> Float[Tensor, "b k n"]:
        """The masks that `forward` gives."""
        memory, x = self.norm_memory(slots), self.places.expand(len(slots), -1, -1)
        for layer in self.layers:
            x = layer(x, memory)
        logits = self.q(self.norm_q(x)) @ self.k(self.norm_k(slots)).transpose(1, 2)
        return (logits * slots.shape[-1] ** -0.5).softmax(-1).transpose(1, 2)
