"""Where a block starts: at random, as published, or with its keys projected like its queries.

With two random projections, which patches a query attends to most is chance at first, and the
losses, which only ever sharpen what a row says already, need thousands of steps to leave it. In a
`tied` start the projection of the keys begins as a copy of the queries': the first rows are a
soft similarity of the frozen features, and training begins there. Both are free to part later.
"""

import torch

from unveil.attention.block import Block, random_block
from unveil.training.features import ClipFeatures
from unveil.training.recipe import Recipe


@torch.no_grad()
def new_block(recipe: Recipe, clip: ClipFeatures) -> Block:
    """A block before its first step, its channels those of a clip's features."""
    channels = clip.window(0).shape[-1]
    dropout = recipe.dropout, recipe.attention_dropout
    block = random_block(channels, recipe.heads, *dropout, recipe.centred, recipe.seed)
    if recipe.start == "tied":
        queries, keys, _ = block.attention.qkv.weight.chunk(3)
        queries *= recipe.sharpness
        keys.copy_(queries)
    return block.train()
