"""SlotContrast, VideoSAUR, SAVi, STEVE and SOLV on frozen keys, as one model with settings.

All project keys, let slots attend to them, and decode the slots; they differ in `SlotSettings`.

*recurrent* (SAVi, Kipf et al., arXiv 2111.12594; STEVE, Singh et al., arXiv 2205.14065): s_t =
attention(ŝ_t, x_t), ŝ_{t+1} = predictor(s_t), one pre-norm transformer layer over the slots of a
frame. A slot is one object as long as the video lasts. *window* (SOLV, Aydemir et al., arXiv
2310.06907): the slots of every frame of a window are found anew from the same learned ones; a
temporal encoder reads each slot over the window, and what it says of the middle frame is merged
and decoded.

Not as published, for all: what is read and reconstructed are *keys*, less their mean and divided
by their deviation over the training clips, where the papers reconstruct output tokens; what the
backbone here computes ends at its keys. SAVi reconstructed pixels or flow, and was given boxes: on
features, unconditional, it is VideoSAUR without its second loss. STEVE said tokens of a discrete
autoencoder that it trained beside; here it says keys. SOLV drops half the tokens before the
backbone while it trains, which frozen features do not allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unveil.slots.attention import (
    InvariantSlotAttention,
    SlotAttention,
    located,
    places,
    relative,
    weights,
)
from unveil.slots.decoder import Autoregressive, Broadcast, Decoded, Mixer
from unveil.slots.layers import KeysModel, TransformerLayer, projection
from unveil.slots.merging import alike, joined
from unveil.slots.settings import SlotSettings


@dataclass(frozen=True)
class Seen:
    """What a model sees in frames.

    slots: those that were decoded. masks: [b, t, k, n], how much of each patch is each slot's; they
    sum to 1. outputs: [b, t, n, o], first the C standardised keys, then where a patch goes; o is 0
    where only masks were asked for. after: the slots before the next frame, of a recurrent model.
    """

    slots: Float[Tensor, "b t k d"]
    masks: Float[Tensor, "b t k n"]
    outputs: Float[Tensor, "b t n o"]
    after: Float[Tensor, "b k d"] | None = None


class SlotModel(KeysModel):
    """A slot model for keys of C channels on a grid of h x w patches.

    >>> model = SlotModel(SlotSettings(slots=3, width=8), channels=11, grid=(2, 5))
    >>> seen = model(torch.randn(1, 4, 2, 5, 11))
    >>> seen.masks.shape
    torch.Size([1, 4, 3, 10])
    """

    places: Tensor

    def __init__(self, settings: SlotSettings, channels: int, grid: tuple[int, int]) -> None:
        super().__init__(channels, grid)
        s, n = settings, grid[0] * grid[1]
        self.settings = settings
        self.register_buffer("places", places(*grid), persistent=False)
        self.project = projection(channels, s.projection * channels, s.width)
        count = s.slots if s.start == "learned" else 1
        first = torch.randn(count, s.width) * s.width**-0.5
        self.first = nn.Parameter(first if s.start == "learned" else torch.zeros(1, s.width))
        if s.start == "random":
            self.log_std = nn.Parameter(torch.full((s.width,), s.width**-0.5).log())
        self.decoder = _decoder(s, channels, n)
        self.attention = (
            SlotAttention(s.width, s.mlp, s.hidden == "raw", s.mlp_last)
            if s.attention == "plain"
            else InvariantSlotAttention(s.width, s.slots, s.mlp, self.places, s.dropout)
        )
        if s.time == "recurrent":
            self.predictor = TransformerLayer(s.width, s.heads)
            return
        self.after = nn.Linear(s.width, s.width)
        layer = nn.TransformerEncoderLayer(
            s.width, s.heads, 4 * s.width, s.dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, s.encoder_layers, enable_nested_tensor=False)
        self.frames = nn.Parameter(0.02 * torch.randn(2 * s.around + 1, 1, s.width))
        if s.attention == "invariant":
            self.seen = nn.Linear(2, s.width)

    @property
    def count(self) -> int:
        """Masks a frame."""
        return self.settings.slots

    def begin(
        self, videos: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b k d"]:
        """Slots before the first frame. generator: CPU; of random ones."""
        s = self.settings
        if s.start == "learned":
            return self.first.expand(videos, -1, -1)
        noise = torch.randn(videos, s.slots, s.width, generator=generator)
        return self.first + noise.to(self.first) * self.log_std.exp()

    def forward(
        self,
        keys: Float[Tensor, "b t h w c"],
        slots: Float[Tensor, "b k d"] | None = None,
        generator: torch.Generator | None = None,
        present: Bool[Tensor, "b t"] | None = None,
        begins: bool = False,
        only_masks: bool = False,
        merged: Sequence[bool] | None = None,
    ) -> Seen:
        """See frames.

        slots: those before the first frame, where these frames go on; else they begin a video.
        begins: slots were given, and begin one all the same. generator: of all that is drawn.
        present: which frames of a window are frames of the video; the others count for nothing. A
        window is 2 around + 1 frames, and only the one in the middle is seen (t = 1 of the answer).
        only_masks: nothing else is decoded. merged: of which windows slots that are alike are
        joined; of all by default.
        """
        features = self.standard(keys)
        if self.settings.time == "recurrent":
            return self._follow(features, slots, generator, begins or slots is None, only_masks)
        return self._look_around(self.project(features), present, generator, only_masks, merged)

    def _decode(self, slots: Tensor, seen: Tensor | None, only_masks: bool) -> Decoded:
        assert not isinstance(self.decoder, Autoregressive)
        if not only_masks:
            return self.decoder(slots, seen)
        masks = self.decoder.masks(slots, seen)
        return masks, masks.new_zeros(len(masks), masks.shape[-1], 0)

    def _follow(
        self,
        features: Tensor,
        slots: Tensor | None,
        generator: torch.Generator | None,
        first: bool,
        only_masks: bool,
    ) -> Seen:
        s, (b, t), x = self.settings, features.shape[:2], self.project(features)
        slots = self.begin(b, generator) if slots is None else slots
        found = []
        for i in range(t):
            steps = s.first_steps if first and i == 0 else s.steps
            found.append(self.attention(slots, x[:, i], steps))
            slots = self.predictor(found[-1].slots)
        stacked = torch.stack([one.slots for one in found], 1)
        if isinstance(self.decoder, Autoregressive):
            masks = torch.stack([one.shares for one in found], 1)
            if only_masks:
                return Seen(stacked, masks, masks.new_zeros(*x.shape[:3], 0), slots)
            said = self.decoder(stacked.flatten(0, 1), features.flatten(0, 1))
            return Seen(stacked, masks, said.unflatten(0, (b, t)), slots)
        masks, outputs = self._decode(stacked.flatten(0, 1), None, only_masks)
        masks, outputs = masks.unflatten(0, (b, t)), outputs.unflatten(0, (b, t))
        return Seen(stacked, masks, outputs, slots)

    def _look_around(
        self,
        x: Tensor,
        present: Tensor | None,
        generator: torch.Generator | None,
        only_masks: bool,
        merged: Sequence[bool] | None,
    ) -> Seen:
        s, (b, t) = self.settings, x.shape[:2]
        attended = self.attention(self.begin(b * t, generator), x.flatten(0, 1), s.steps)
        slots = self.after(attended.slots).unflatten(0, (b, t)) + self.frames
        absent = None if present is None else ~present.repeat_interleave(s.slots, 0)
        rows = slots.transpose(1, 2).flatten(0, 1)
        middle = self.encoder(rows, src_key_padding_mask=absent)[:, s.around].unflatten(0, (b, -1))
        shares = attended.shares.unflatten(0, (b, t))[:, s.around]
        seen = [
            self._merged(*one, only_masks)
            for one in zip(middle, shares, merged or [True] * b, strict=True)
        ]
        return Seen(*(torch.stack(part)[:, None] for part in zip(*seen, strict=True)))

    def _merged(
        self,
        slots: Tensor,
        shares: Tensor,
        merged: bool,
        only_masks: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots [k, d], masks and outputs of one frame: that of a group stands at its first slot,
        the places of the others are empty.
        """
        s, k = self.settings, len(slots)
        groups = alike(slots, s.merge) if merged and s.merge else torch.arange(k)
        together = joined(slots, groups, mean=True)[None]
        seen = None
        if s.attention == "invariant":
            # Each slot weighs alike in its group, as in SOLV's code.
            parts = joined(weights(shares[None])[0], groups, mean=False)
            frame = located(self.places, weights(parts[None]))
            seen = self.seen(relative(self.places, frame))
        masks, outputs = self._decode(together, seen, only_masks)
        first = torch.tensor([int((groups == g).nonzero()[0]) for g in range(together.shape[1])])
        first = first.to(slots.device)
        whole = masks.new_zeros(k, masks.shape[-1]).index_copy(0, first, masks[0])
        return slots.index_copy(0, first, together[0]), whole, outputs[0]


def _decoder(s: SlotSettings, channels: int, patches: int) -> Mixer | Broadcast | Autoregressive:
    """What says features of slots."""
    outputs = channels + (patches if s.similarity else 0)
    shape = s.width, patches, s.decoder_width, s.decoder_layers, outputs
    if s.decoder == "autoregressive":
        return Autoregressive(*shape, channels, s.heads, s.dropout)
    return Mixer(*shape) if s.decoder == "mixer" else Broadcast(*shape)


def new_model(settings: SlotSettings, channels: int, grid: tuple[int, int], seed: int) -> SlotModel:
    """A model before its first step; torch's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SlotModel(settings, channels, grid)
