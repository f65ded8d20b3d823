"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, what is done and what there is to do (None where nobody knows)."""


def silent(stage: str, done: int, total: int | None) -> None:
    """The Progress of those who ask for none."""
