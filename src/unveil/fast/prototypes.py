"""The second level: a few hundred prototypes for the whole video, and rows of attention to them.

A row is what the published method calls one, a distribution of attention over keys, but over
prototypes that are weighted by how many patches they stand for: a row of M entries says what a
row over all keys would.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.attention.rows import TEMPERATURE
from unveil.fast.directions import evenly, main_directions
from unveil.fast.groups import Groups
from unveil.fast.kmeans import in_pieces, lloyd, weighted_sums

PROTOTYPES = 256
"""Prototypes a video, at most."""
ROUNDS = 10
HELD = 1 << 22
"""Entries of rows that are kept from one question to the next: 16 MB."""


@dataclass(frozen=True)
class Prototypes:
    """What a video's groups are summed up by.

    keys: [M, C] mean keys. mass: [M] patches each stands for, > 0. member: [G] the prototype of
    every group. mean: [C] mean key of all patches.
    """

    keys: Float[Tensor, "m c"]
    mass: Float[Tensor, " m"]
    member: Int[Tensor, " g"]
    mean: Float[Tensor, " c"]


@torch.inference_mode()
def summarise(groups: Groups, count: int = PROTOTYPES, seed: int = 0) -> Prototypes:
    """K-means of the groups' centred keys, each group weighted by its patches.

    Keys speak in the directions that they mostly lie in (`fast.directions`). Cost: linear in the
    groups. Peak memory: a piece of their keys in fp32, and 128 bytes a group. seed: of the groups
    that the centres start from.
    """
    mean = groups.mean

    def unit(keys: Tensor) -> Tensor:
        return F.normalize(keys.float() - mean, dim=1)

    main = main_directions(unit(evenly(groups.keys)))
    looks = in_pieces(lambda keys: (unit(keys) @ main).half(), groups.keys)
    start = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))[:count]
    _, member = lloyd(looks, looks[start].float(), groups.counts, ROUNDS, of=Tensor.float)
    used, member = member.unique(return_inverse=True)
    mass = groups.counts.new_zeros(len(used)).index_add_(0, member, groups.counts)
    total = weighted_sums(groups.keys, member, groups.counts, len(used))
    return Prototypes(total / mass[:, None], mass, member, mean)


@torch.inference_mode()
def rows(
    queries: Float[Tensor, "n c"],
    prototypes: Prototypes,
    block: Block | None = None,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "n m"]:
    """Attention of keys to the prototypes, each weighted by its mass; rows sum to 1.

    queries: [N, C] keys as the backbone gave them. block: the trained block; without one, cosine
    similarity of the centred keys over a temperature.
    """
    prior = prototypes.mass.log()
    if block is None:
        a = F.normalize(queries - prototypes.mean, dim=1)
        b = F.normalize(prototypes.keys - prototypes.mean, dim=1)
        return (a @ b.T / temperature + prior).softmax(1)
    q, _ = block.queries_keys(block.centre(queries, prototypes.mean))
    _, k = block.queries_keys(block.centre(prototypes.keys, prototypes.mean))
    heads, d = q.shape[1:]
    out = queries.new_zeros(len(queries), len(prior))
    for head in range(heads):
        out += (q[:, head] @ k[:, head].T * d**-0.5 + prior).softmax(1)
    return out / heads


class Attention:
    """Keys that look at the prototypes, and may be asked more than once what they see.

    Arguments as `rows` takes them. Some thousand rows are made at a time. Those of up to `HELD`
    entries are kept for whoever asks again, who gets what rows made anew would give, to the bit.
    """

    def __init__(
        self,
        queries: Float[Tensor, "n c"],
        prototypes: Prototypes,
        block: Block | None = None,
        temperature: float = TEMPERATURE,
    ) -> None:
        self._queries, self._how = queries, (prototypes, block, temperature)
        held = len(queries) * len(prototypes.keys) <= HELD
        self._rows = in_pieces(self._made, queries) if held else None

    def __call__(self, values: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Values of the prototypes as the rows see them, `rows` @ values."""
        if self._rows is not None:
            return in_pieces(lambda rows: rows @ values, self._rows)
        return in_pieces(lambda part: self._made(part) @ values, self._queries)

    def _made(self, part: Tensor) -> Tensor:
        return rows(part.float(), *self._how)
