"""How alike the groups of a video are, small enough to lie beside the results.

The merge tree says which parts belong together; to part by hand what the tree holds for one, it
takes what the groups look like. 32 directions of the keys, in which they vary most, in half
precision: 2 kB a frame at 256 groups for every eight frames.

Beside it lie the mean keys of the groups as they are, in a file that is read where it lies: what a
patch attends to, in the backbone or in any block, follows from them. At 384 channels they take 24.6
kB a frame.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from unveil.errors import DataError
from unveil.fast.arrays import load_arrays, save_arrays
from unveil.fast.contacts import scaled_keys
from unveil.fast.groups import Groups
from unveil.files import written_whole

DIRECTIONS = 32
KEYS = "keys.npy"
_FORMAT = 1


@dataclass(frozen=True)
class Evidence:
    """looks: [G, 32] half precision; the likeness of two groups is exp(-d²), d their distance.

    keys: [G] records of half precision, `key` [C], the mean key of a group, and `saliency`, what
    the class token pays it, 1 = the mean of its frame; None for results of before they were kept.
    """

    looks: Float[np.ndarray, "g c"]
    keys: np.ndarray | None = None

    def save(self, path: Path) -> None:
        """Write as one compressed .npz, and the keys as `keys.npy` beside it."""
        save_arrays(path, _FORMAT, {"looks": self.looks})
        if self.keys is not None:
            with written_whole(path.with_name(KEYS)) as partial, partial.open("wb") as file:
                np.save(file, self.keys)

    @classmethod
    def load(cls, path: Path) -> "Evidence":
        """Read what `save` wrote; keys stay on the disk. Raises DataError for anything else."""
        looks = load_arrays(path, {_FORMAT: ("looks",)}, "no evidence")["looks"]
        beside = path.with_name(KEYS)
        if not beside.exists():
            return cls(looks)
        try:
            keys = np.load(beside, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{beside} is no keys that Unveil wrote: {error}") from error
        if keys.dtype.names != ("key", "saliency") or keys.shape != (len(looks),):
            raise DataError(f"{beside} holds no keys of these groups; segment the video again")
        return cls(looks, keys)


def records(groups: Groups) -> np.ndarray:
    """What is kept of the keys of groups: `Evidence.keys`."""
    kept = np.zeros(len(groups), [("key", "<f2", (groups.keys.shape[1],)), ("saliency", "<f2")])
    kept["key"], kept["saliency"] = groups.keys.cpu().numpy(), groups.saliency.cpu().numpy()
    return kept


def evidence(groups: Groups, keys: np.ndarray | None = None) -> Evidence:
    """The evidence between the groups of a video. keys: their `records`, where they are there."""
    scaled = scaled_keys(groups)
    _, axes = np.linalg.eigh(sum((keys.T @ keys).astype(np.float64) for _, keys in scaled.pieces()))
    main = axes[:, ::-1][:, :DIRECTIONS]
    # An axis has no sign of its own: let its largest entry be positive.
    main = main * np.sign(main[np.abs(main).argmax(0), np.arange(main.shape[1])])
    main = main.astype(np.float32)
    looks = np.empty((len(groups), main.shape[1]), np.float16)
    for part, some in scaled.pieces():
        looks[part] = some @ main
    return Evidence(looks, records(groups) if keys is None else keys)
