"""The protocol buffer `tf.train.Example`, read and written without TensorFlow.

Example { features: 1 → { feature: 1 → map of name → Feature } }, and a Feature is a list of bytes
(1), of floats (2) or of 64-bit integers (3). Floats are skipped: nothing here needs them.
"""

from collections.abc import Iterator, Mapping, Sequence

from unveil.errors import DataError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3

Values = list[bytes] | list[int]


def decode_example(data: bytes, wanted: Sequence[str]) -> dict[str, Values]:
    """The wanted features of an Example that it has; others are not copied.

    Raises DataError where the bytes are no Example.
    """
    found: dict[str, Values] = {}
    try:
        for number, features in _fields(memoryview(data)):
            for entry_number, entry in _fields(features) if number == 1 else ():
                parts = dict(_fields(entry)) if entry_number == 1 else {}
                name = bytes(parts.get(1, b"")).decode()
                if name in wanted:
                    found[name] = _feature(parts.get(2, memoryview(b"")))
    except (IndexError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"no tf.train.Example ({error or 'it ends early'})") from error
    return found


def encode_example(features: Mapping[str, Values]) -> bytes:
    """An Example with these features, in the order of their names."""
    entries = b""
    for name in sorted(features):
        value = features[name]
        if value and isinstance(value[0], int):
            numbers = b"".join(_varint(v % (1 << 64)) for v in value)
            feature = _field(_INT64_LIST, _field(1, numbers))
        else:
            feature = _field(_BYTES_LIST, b"".join(_field(1, v) for v in value))
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _feature(data: memoryview) -> Values:
    for kind, content in _fields(data):
        if kind == _BYTES_LIST:
            return [bytes(value) for number, value in _fields(content) if number == 1]
        if kind == _INT64_LIST:
            return [v for number, value in _fields(content) if number == 1 for v in _ints(value)]
    return []


def _ints(value: int | memoryview) -> Iterator[int]:
    """The integers of a field, packed or single, signed."""
    if isinstance(value, int):
        yield _signed(value)
        return
    at = 0
    while at < len(value):
        number, at = _read_varint(value, at)
        yield _signed(number)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and their contents, one after the other."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _read_varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise TypeError(f"wire type {wire}")
        if at + length > len(data):
            raise IndexError("a field ends beyond its message")
        yield number, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise TypeError("a number that does not end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
