"""The errors that a user of Unveil can cause.

    UnveilError
    ├── InputError      a video, image or argument that cannot be used
    ├── WeightsError    weights that are missing, broken or do not fit
    ├── OutputError     a result that cannot be written
    ├── DataError       a dataset, annotation or prediction that cannot be read
    └── TrainingError   a training run that cannot start or go on

Each message says what is wrong, where, and what to do. The command line prints it and exits
with code 2.
"""


class UnveilError(Exception):
    """Base of every error that Unveil raises on purpose."""


class InputError(UnveilError):
    """A video, image or argument that cannot be used."""


class WeightsError(UnveilError):
    """Weights that are missing, broken or do not fit."""


class OutputError(UnveilError):
    """A result that cannot be written."""


class DataError(UnveilError):
    """A dataset, annotation or prediction that cannot be read."""


class TrainingError(UnveilError):
    """A training run that cannot start or go on."""


NO_MEMORY = "not enough memory: take a smaller --size or --chunk, or less of the video at once"
"""What to say where memory ran out over a video."""


def said_of(error: Exception) -> str:
    """What is told of an error that must not end the rest of the work: also of one unforeseen."""
    if isinstance(error, UnveilError):
        return str(error)
    return "not enough memory" if is_out_of_memory(error) else unforeseen(error)


def unforeseen(error: BaseException) -> str:
    """What to say of an error that Unveil does not raise on purpose, over a video."""
    if is_out_of_memory(error):
        return NO_MEMORY
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):  # of the file or the machine
        return said
    return f"{said}; this is a fault of Unveil, please report it"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's, or what torch asked of the system."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
