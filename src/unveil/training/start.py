"""Where a block starts: at random, as published, or at what the frozen features say already.

Keys of a ViT share a large common part: of the default backbone's layer-normed keys, of length
20, it makes up 18. With random projections the first rows therefore hardly differ from each
other, and which patches a query attends to most is chance; the losses need thousands of steps to
find something to sharpen. The `similar` start spares that: the block's norm takes the mean and
the spread that the keys have over the training clips, and the keys' projection starts as the
queries'. Its rows are then a soft similarity of the features, and training begins there.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unveil.attention import Block
from unveil.training.features import ClipFeatures
from unveil.training.recipe import Recipe


def new_block(recipe: Recipe, clips: Sequence[ClipFeatures]) -> Block:
    """A block before its first step; the same for the same recipe and clips."""
    channels = clips[0].window(0).shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        block = Block(channels, recipe.heads, recipe.dropout, recipe.attention_dropout)
    if recipe.start == "similar":
        start_similar(block, *mean_and_spread(clips), recipe.sharpness)
    return block.train()


@torch.no_grad()
def start_similar(
    block: Block, mean: Float[Tensor, " c"], spread: Float[Tensor, " c"], sharpness: float
) -> None:
    """Let a block's rows be the similarity of standardised keys.

    mean, spread: of the layer-normed keys. sharpness: factor of queries and keys each, so that
    logits grow with its square.
    """
    c = block.channels
    block.norm1.weight.copy_(1 / spread)
    block.norm1.bias.copy_(-mean / spread)
    weight = block.attention.qkv.weight
    weight[:c] *= sharpness
    weight[c : 2 * c] = weight[:c]


@torch.no_grad()
def mean_and_spread(
    clips: Sequence[ClipFeatures],
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Mean and standard deviation, channel by channel, of the clips' layer-normed patch keys.

    Reads the first window of every clip.
    """
    count, total, squares = 0, 0.0, 0.0
    for clip in clips:
        keys = clip.window(0)[:, 1:].double().flatten(0, 1)
        keys = F.layer_norm(keys, keys.shape[-1:])
        count += len(keys)
        total, squares = total + keys.sum(0), squares + keys.square().sum(0)
    mean = total / count
    spread = (squares / count - mean.square()).clamp_min(1e-6).sqrt()
    return mean.float(), spread.float()
