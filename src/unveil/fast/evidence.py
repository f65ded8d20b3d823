"""How alike the groups of a video are, small enough to lie beside the results.

The merge tree says which parts belong together; to part by hand what the tree holds for one, it
takes what the groups look like. 32 directions of the keys, in which they vary most, in half
precision: 2 kB a frame at 256 groups for every eight frames.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from unveil.fast.arrays import load_arrays, save_arrays
from unveil.fast.contacts import scaled_keys
from unveil.fast.groups import Groups

DIRECTIONS = 32
_FORMAT = 1


@dataclass(frozen=True)
class Evidence:
    """looks: [G, 32] half precision; the likeness of two groups is exp(-d²), d their distance."""

    looks: Float[np.ndarray, "g c"]

    def save(self, path: Path) -> None:
        """Write as one compressed .npz, under a temporary name first."""
        save_arrays(path, _FORMAT, {"looks": self.looks})

    @classmethod
    def load(cls, path: Path) -> "Evidence":
        """Read what `save` wrote. Raises DataError for anything else."""
        return cls(**load_arrays(path, _FORMAT, ("looks",), "no evidence"))


def evidence(groups: Groups) -> Evidence:
    """The evidence between the groups of a video. Peak memory: their keys twice."""
    keys = scaled_keys(groups).astype(np.float32)
    _, axes = np.linalg.eigh((keys.T @ keys).astype(np.float64))
    main = axes[:, ::-1][:, :DIRECTIONS]
    # An axis has no sign of its own: let its largest entry be positive.
    main = main * np.sign(main[np.abs(main).argmax(0), np.arange(main.shape[1])])
    return Evidence((keys @ main.astype(np.float32)).astype(np.float16))
