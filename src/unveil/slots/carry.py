"""A video seen chunk by chunk: slots are carried from frame to frame, so that ids last.

    carrier = Carrier(model)
    for keys in chunks:                      # [t, h, w, c]
        masks = carrier.add(keys)            # [t', k, h, w] of the frames that are decided
    masks = carrier.flush()                  # and of those that still wait

How the frames were chunked changes nothing. A recurrent model decides every frame at once, and
slot k is object k all along; one of prototypes carries nothing, for they last as they are. One that
reads windows waits for the frames after each; the slots of a frame take the ids of the slots before
that they are most like (one to one, cosine): those of the frame before first, then those that were
seen earlier. So do SMTC's instances among those of their semantics, begun from the same draw in
every frame.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from unveil.slots.model import SlotModel
from unveil.slots.model_file import Model
from unveil.slots.prototypes import PrototypeModel
from unveil.slots.smtc import SmtcModel, matched

Masks = Float[Tensor, "_ k h w"]


@dataclass
class Carrier:
    """Carries the slots of one video. seed: of random ones before the first frame."""

    model: Model
    seed: int = 0
    _slots: Tensor | None = None
    _visible: Tensor | None = None
    _before: Tensor | None = None
    _waiting: deque[Tensor | None] = field(default_factory=deque, repr=False)
    _past: int = 0

    @property
    def delay(self) -> int:
        """How many frames wait for their masks."""
        if isinstance(self.model, SlotModel) and self.model.settings.time == "window":
            return self.model.settings.around
        return 0

    @torch.inference_mode()
    def add(self, keys: Float[Tensor, "t h w c"]) -> Masks:
        """Take the keys of the next frames; the masks of those that are decided."""
        if isinstance(self.model, PrototypeModel):
            return self.model.masks(keys)
        if self.delay:
            return self._windows([*keys])
        if not len(keys):
            return self._shaped([])
        if isinstance(self.model, SmtcModel):
            return self._shaped(self._instances(self.model, keys))
        seen = self.model(keys[None], self._slots, self._generator(), only_masks=True)
        self._slots = seen.after
        return self._shaped([*seen.masks[0]])

    @torch.inference_mode()
    def flush(self) -> Masks:
        """The masks of frames that still wait, once the video has ended."""
        if self.delay and self._waiting:
            return self._windows([None] * self.delay)
        return self._shaped([])

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _windows(self, keys: list[Tensor | None]) -> Masks:
        """See every frame that has all it needs around it; None: frames after the last."""
        around, masks = self.delay, []
        for key in keys:
            # What is left of the queue: up to `around` frames before the middle, it, those after.
            self._waiting.append(key)
            if len(self._waiting) <= self._past + around:
                continue
            frames = list(self._waiting)
            before: list[Tensor | None] = [None] * (around - self._past)
            masks.append(self._middle(before + frames))
            if self._past < around:
                self._past += 1
            else:
                self._waiting.popleft()
        return self._shaped(masks)

    def _middle(self, frames: list[Tensor | None]) -> Tensor:
        there = [f is not None for f in frames]
        some = next(f for f in frames if f is not None)
        keys = torch.stack([some if f is None else f for f in frames])[None]
        present = torch.tensor([there], device=keys.device)
        seen = self.model(keys, None, self._generator(), present, only_masks=True)
        slots, masks = F.normalize(seen.slots[0, 0], dim=-1), seen.masks[0, 0]
        used = masks.sum(1) > 0
        if self._slots is None or self._visible is None:
            self._slots, self._visible = slots * used[:, None], used
            return masks
        ids = carried(self._slots, self._visible, slots[used])
        self._slots = self._slots.index_copy(0, ids, slots[used])
        self._visible = torch.zeros_like(used).index_fill(0, ids, True)
        return torch.zeros_like(masks).index_copy(0, ids, masks[used])

    def _instances(self, model: SmtcModel, keys: Tensor) -> list[Tensor]:
        """Masks whose instances are in the order of those before that they are most like."""
        before = keys[0] if self._before is None else self._before
        noise = model.draw(generator=self._generator()).expand(1, len(keys), -1, -1, -1)
        seen = model(keys[None], before[None], noise)
        self._before, masks = keys[-1], []
        for objects, mask in zip(seen.objects[0], seen.masks[0], strict=True):
            known = objects if self._slots is None else self._slots
            order = matched(known @ objects.mT)[..., None]
            self._slots = objects.take_along_dim(order, 1)
            masks.append(mask.take_along_dim(order, 1).flatten(0, 1))
        return masks

    def _shaped(self, masks: list[Tensor]) -> Masks:
        k, (h, w) = self.model.count, self.model.grid
        if not masks:
            return self.model.mean.new_zeros(0, k, h, w)
        return torch.stack(masks).unflatten(-1, (h, w))


def carried(
    known: Float[Tensor, "k d"], visible: Bool[Tensor, " k"], slots: Float[Tensor, "m d"]
) -> Int[Tensor, " m"]:
    """The ids of slots in a frame, one to one.

    known: the slots of every id as last seen, zero where it never was. visible: the ids seen in the
    frame before. slots: [m, d], m <= k. All are of norm 1. Ids that were visible are given first,
    as in SOLV, where the slots of one frame are matched with those of the frame before; the others
    are for objects that come, or come back.
    """
    first = 2 * len(slots) + 1  # more than all cosines together can lack
    likeness = known @ slots.T + first * visible[:, None]
    ids, order = linear_sum_assignment(-likeness.double().cpu().numpy())
    return torch.from_numpy(ids[order.argsort()]).to(slots.device)
