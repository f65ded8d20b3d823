"""From slots to what they say of every patch: masks, and features to hold against the real ones.

Broadcast and Mixer take slots [b, k, d] and give masks [b, k, n], which sum to 1 over the slots,
and outputs [b, n, o]; `masks` gives the first alone, all that is used of a trained model, at a
fraction of the cost. Autoregressive gives outputs alone.
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


class Autoregressive(nn.Module):
    """A transformer that says every patch from those before it and the slots, as in STEVE.

    Singh et al., arXiv 2205.14065, section 3, where the patches are tokens of a discrete
    autoencoder; on features as in Seitzer et al., arXiv 2209.14860, appendix. Row by row, with x
    the true features of the patches and e a learned embedding of each place:

        y = layers([x_0, W_x x_1 … W_x x_{n-1}] + e, W_s s),   output = W_o LN(y)

    x_0 is learned; layers are pre-norm: attention to the patches up to its own (so output j is read
    from features 1 … j-1), attention to the slots, a ReLU layer of four times the width. What it
    says has no masks: those of its model are the shares of slot attention. width: of the slots;
    hidden: of the layers.
    """

    def __init__(
        self,
        width: int,
        patches: int,
        hidden: int,
        layers: int,
        outputs: int,
        channels: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, hidden) * hidden**-0.5)
        self.places = nn.Parameter(torch.randn(patches, hidden) * hidden**-0.5)
        self.x = nn.Linear(channels, hidden)
        self.s = nn.Linear(width, hidden, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                hidden, heads, 4 * hidden, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(
        self, slots: Float[Tensor, "b k d"], features: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b n o"]:
        """What is said of every patch, while the true ones before it are known."""
        before = self.x(features[:, :-1])
        y = torch.cat((self.first.expand(len(slots), -1, -1), before), 1) + self.places
        y, memory = self.dropout(y), self.s(slots)
        n = y.shape[1]
        later = torch.ones(n, n, dtype=torch.bool, device=y.device).triu(1)
        for layer in self.layers:
            y = layer(y, memory, tgt_mask=later)
        return self.output(self.norm(y))
