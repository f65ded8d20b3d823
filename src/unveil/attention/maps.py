"""One patch's attention over the patches of all frames: for a figure, or a press."""

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.attention.block import Block
from unveil.attention.rows import BlockRows, CosineRows, Rows, block_rows, cosine_rows
from unveil.errors import InputError
from unveil.types import Features


@torch.inference_mode()
def attention_of(
    features: Features,
    at: tuple[int, int, int],
    block: Block | None = None,
    head: int | None = None,
) -> Float[Tensor, "t h w"]:
    """The attention of one patch over the patches of all frames; it sums to 1.

    at: frame, row and column of the patch. block: whose attention it is; without one it is the
    backbone's own, the softmax of the cosine similarity of centred keys (`CosineRows`). head: of
    the block, counted from 0; the mean over heads by default.

    Memory: the keys of all frames once or twice more. Raises InputError for a patch or a head that
    is not there.
    """
    t, h, w, _ = features.keys.shape
    f, y, x = at
    if not (0 <= f < t and 0 <= y < h and 0 <= x < w):
        raise InputError(f"no patch {at}: there are {t} frames of {h}x{w} patches, counted from 0")
    one = (slice(f, f + 1), slice(y, y + 1), slice(x, x + 1))
    rows: Rows
    if block is None:
        if head is not None:
            raise InputError(f"head {head}: the cosine of keys has no heads, only a block has")
        cosine = cosine_rows(features, every=1)
        rows = CosineRows(cosine.unit[one], cosine.k)
    else:
        if head is not None and not 0 <= head < block.heads:
            raise InputError(f"no head {head}: the block has {block.heads}, counted from 0")
        heads = slice(None) if head is None else slice(head, head + 1)
        whole = block_rows(features, block, every=1)
        rows = BlockRows(whole.q[one][..., heads, :], whole.k[:, heads])
    return rows(0, 1)[0].unflatten(0, (t, h, w))
