"""Whether a GIF file was written to its end (GIF89a specification, 1990)."""

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def is_complete(data: bytes) -> bool:
    """Whether the blocks of a GIF lead to its trailer; what follows it belongs to someone else."""
    try:
        at = 13 + _table(data[10])
        while data[at] != _TRAILER:
            if data[at] == _EXTENSION:
                at += 2
            elif data[at] == _IMAGE:
                at += 10 + _table(data[at + 9]) + 1
            else:
                return False
            while data[at]:  # sub-blocks, each with its length before it
                at += data[at] + 1
            at += 1
    except IndexError:
        return False
    return True


def _table(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
