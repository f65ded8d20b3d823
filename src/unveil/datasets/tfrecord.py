"""TFRecord files without TensorFlow.

A record is its length (8 bytes, little-endian), the masked CRC-32C of the length (4), the data,
and the masked CRC-32C of the data (4). Both checks are made.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c

from unveil.errors import DataError

_MASK = 0xA282EAD8
_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def index_records(path: Path) -> list[tuple[int, int]]:
    """Offset and length in bytes of the data of every record; reads only the lengths.

    Raises DataError where a length fails its check or the file ends early.
    """
    size = path.stat().st_size
    places: list[tuple[int, int]] = []
    at = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise _broken(path, len(places), at, "the file ends within a record's head")
            length, check = _HEAD.unpack(head)
            if masked_crc32c(head[:8]) != check:
                raise _broken(path, len(places), at, "its length fails the check")
            places.append((at + _HEAD.size, length))
            at += _HEAD.size + length + _TAIL.size
            if at > size:
                raise _broken(path, len(places) - 1, size, "the file ends within it")
    return places


def read_record(path: Path, offset: int, length: int) -> bytes:
    """The data of one record. Raises DataError where it fails its check."""
    with path.open("rb") as file:
        file.seek(offset)
        data, tail = file.read(length), file.read(_TAIL.size)
    if len(data) < length or len(tail) < _TAIL.size:
        raise DataError(f"{path}: the file ends within the record at byte {offset}: get it again")
    if masked_crc32c(data) != _TAIL.unpack(tail)[0]:
        raise DataError(f"{path}: the record at byte {offset} fails its check: get the file again")
    return data


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    with path.open("wb") as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            file.write(length + _TAIL.pack(masked_crc32c(length)))
            file.write(data)
            file.write(_TAIL.pack(masked_crc32c(data)))


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of data, rotated and offset as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _broken(path: Path, record: int, at: int, why: str) -> DataError:
    return DataError(f"{path}: record {record} is corrupt at byte {at}, {why}: get the file again")
