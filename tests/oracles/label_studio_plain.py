"""Label Studio's brush read bit by bit, as rle-pack does, which its front end uses.

The form is said at the top of label_studio_sdk/converter/brush.py.
"""

import numpy as np


def read_brush(data: list[int]) -> np.ndarray:
    """The values that a list of bytes holds, one after the other."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total = take(32)
    word = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        again = take(1)
        count = take(sizes[take(2)]) + 1
        values += [take(word)] * count if again else [take(word) for _ in range(count)]
    return np.array(values)
