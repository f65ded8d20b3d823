"""What sets one slot method apart from another, as one value."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from unveil.errors import WeightsError

MOST = 255
"""Masks of a model: their ids are bytes, and 0 is none."""


@dataclass(frozen=True)
class SlotSettings:
    """The shape of a slot model. The defaults are VideoSAUR's (arXiv 2306.04829, its code's
    configuration for YouTube-VIS). Raises WeightsError for values that make no sense.
    """

    slots: int = 7
    """K: slots a video; 11 and 15 on MOVi-C and -E, 8 in SOLV."""
    width: int = 64
    """Of a slot; 128 in SAVi and SOLV."""
    projection: int = 2
    """Width of the projection's hidden layer, in channels of the backbone; 1 in SOLV."""
    start: Literal["random", "learned"] = "random"
    """Slots before the first frame: drawn from one learned normal distribution, or each learned
    (SlotContrast, SOLV)."""
    time: Literal["recurrent", "window"] = "recurrent"
    """Slots go on from frame to frame by way of a predictor; or those of each frame, found anew,
    are read together with those of the frames around it (SOLV)."""
    around: int = 2
    """Frames on either side of a window."""
    attention: Literal["plain", "invariant"] = "plain"
    """Slot attention, or the form that sees patches relative to each slot (SOLV)."""
    first_steps: int = 3
    """Of slot attention on a video's first frame."""
    steps: int = 2
    """Of slot attention on every other frame."""
    mlp: int = 0
    """Hidden width of the perceptron after the gated unit; 0 is none, 4 x width in SlotContrast."""
    mlp_last: bool = True
    """That perceptron comes in the last step of a frame too; not so in STEVE's code."""
    hidden: Literal["normalised", "raw"] = "normalised"
    """What the gated unit changes: normalised slots (VideoSAUR, SlotContrast), or raw ones."""
    heads: int = 4
    """Of the predictor, the temporal encoder and the decoder; 8 in SOLV."""
    encoder_layers: int = 3
    """Of the temporal encoder that reads a window."""
    dropout: float = 0.0
    """Of invariant attention's perceptron, the temporal encoder and the autoregressive decoder; .1
    in SOLV and STEVE."""
    decoder: Literal["mixer", "broadcast", "autoregressive"] = "mixer"
    """See `unveil.slots.decoder`; broadcast in SlotContrast and SOLV, autoregressive in STEVE,
    whose masks are the shares of slot attention."""
    decoder_width: int = 1024
    """Of the decoder's hidden layers; of its tokens in STEVE, 192."""
    decoder_layers: int = 3
    """Hidden layers of the decoder; 4 in SOLV, 8 transformer layers in STEVE."""
    similarity: bool = True
    """The decoder also says, of every patch, where it is in the next frame (VideoSAUR)."""
    merge: float = 0.0
    """1 - cosine up to which slots are joined before they are decoded; 0 joins none, SOLV .12."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            choices = get_args(f.type)
            if choices and value not in choices:
                raise WeightsError(f"slot model: {f.name} is {' or '.join(choices)}, got {value!r}")
        positive = ("slots", "width", "projection", "around", "first_steps", "steps", "heads")
        for name in (*positive, "encoder_layers", "decoder_width", "decoder_layers"):
            if getattr(self, name) < 1:
                raise WeightsError(f"slot model: {name} must be at least 1: {getattr(self, name)}")
        if self.slots > MOST:
            raise WeightsError(f"slot model: slots must be at most {MOST}, got {self.slots}")
        if self.width % self.heads:
            raise WeightsError(
                f"slot model: width {self.width} is no multiple of {self.heads} heads"
            )
        if self.decoder == "autoregressive" and self.decoder_width % self.heads:
            raise WeightsError(
                f"slot model: decoder_width {self.decoder_width} is no multiple of {self.heads} "
                "heads"
            )
        if self.decoder == "autoregressive" and self.time == "window":
            raise WeightsError(
                "slot model: an autoregressive decoder says no masks, so it goes with time = "
                "'recurrent', where those of slot attention are taken"
            )
        if self.time == "recurrent" and (self.merge or self.attention == "invariant"):
            raise WeightsError(
                "slot model: invariant attention and merging go with time = 'window'; slots that "
                "go on from frame to frame keep their places and their number"
            )

    def said(self, **more: Any) -> dict[str, Any]:
        """The values by name, as JSON can hold them, and more beside them."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, **more}
