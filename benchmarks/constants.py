"""A search for better constants of a module, and what cross-validation leaves of it."""

from collections.abc import Callable, Mapping
from types import ModuleType
from unittest import mock

import numpy as np

from objects_head import mean_error

Constants = Mapping[str, float]


def search(
    module: ModuleType,
    ranges: Mapping[str, tuple[float, float]],
    kinds: list[str],
    scores: Callable[[], list[float]],
    trials: int,
    seed: int,
) -> str:
    """The best constants found, as a table.

    Begins with those that hold, draws a third of the trials at random, then around the best so far;
    what counts is the sum of the means of each kind of case. Cross-validated: every case scored by
    the constants that are best on all others.

    kinds: of every case. scores: of every case, by the constants that the module has then. A
    constant that is an int stays one.
    """
    rng = np.random.default_rng(seed)
    now = {name: getattr(module, name) for name in ranges}
    tried: list[Constants] = []
    values = np.zeros((0, len(kinds)))
    of = np.array(kinds)

    def worth(values: np.ndarray, but: int | None = None) -> np.ndarray:
        kept = np.arange(len(of)) != (-1 if but is None else but)
        return sum(values[:, kept & (of == kind)].mean(1) for kind in dict.fromkeys(kinds))

    for trial in range(trials):
        constants = {name: float(rng.uniform(*span)) for name, span in ranges.items()}
        if trial > trials // 3:
            near = tried[int(rng.choice(np.argsort(-worth(values))[:12]))]
            moved = rng.choice(list(ranges), min(3, len(ranges)), replace=False).tolist()
            constants = dict(near) | {
                name: float(np.clip(near[name] + rng.normal() * 0.15 * (high - low), low, high))
                for name, (low, high) in ranges.items()
                if name in moved
            }
        constants = {k: round(v) if isinstance(now[k], int) else v for k, v in constants.items()}
        tried.append(constants if trial else now)
        with mock.patch.multiple(module, **tried[-1]):
            values = np.vstack((values, scores()))
    best = int(worth(values).argmax())
    held_out = np.array([values[worth(values, i).argmax(), i] for i in range(len(of))])
    lines = [
        f"{trials} trials. Best: "
        + ", ".join(f"{name} {value:.3g}" for name, value in tried[best].items()),
        "",
        "| | " + " | ".join(dict.fromkeys(kinds)) + " |",
        "|---" * (1 + len(set(kinds))) + "|",
    ]
    rows = {"those that hold": values[0], "best of all": values[best], "cross-validated": held_out}
    for name, row in rows.items():
        cells = (mean_error(row[of == kind]) for kind in dict.fromkeys(kinds))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
