"""TFRecord files without TensorFlow.

A record is its length (8 bytes, little-endian), the masked CRC-32C of the length (4), the data,
and the masked CRC-32C of the data (4). Both checks are made.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from unveil.errors import DataError

_POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reversed
_MASK = 0xA282EAD8
_LANE = 256  # bytes that are worked through one after the other, all lanes at once
_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def index_records(path: Path) -> list[tuple[int, int]]:
    """Offset and length in bytes of the data of every record; reads only the lengths.

    Raises DataError where a length fails its check or the file ends early.
    """
    size = path.stat().st_size
    places, at = [], 0
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
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of data, at about 100 MB a second.

    A CRC is linear over bits: lanes of 256 bytes are worked through side by side, then joined two
    by two, with crc(A·B) = shift(crc(A), |B|) xor crc(B). Zeros in front change nothing.
    """
    n = len(data)
    lanes = 1 << max(0, -(-n // _LANE) - 1).bit_length()
    padded = np.zeros(lanes * _LANE, np.uint8)
    padded[padded.size - n :] = np.frombuffer(data, np.uint8)
    columns = np.ascontiguousarray(padded.reshape(lanes, _LANE).T)
    table, state = _table(), np.zeros(lanes, np.uint32)
    for column in columns:
        state = table[(state ^ column) & 0xFF] ^ (state >> np.uint32(8))
    level = _LANE.bit_length() - 1
    while len(state) > 1:
        state = _apply(_shift(level), state[0::2]) ^ state[1::2]
        level += 1
    start = np.array([0xFFFFFFFF], np.uint32)
    for bit in range(n.bit_length()):
        if n >> bit & 1:
            start = _apply(_shift(bit), start)
    return int(state[0] ^ start[0]) ^ 0xFFFFFFFF


@cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


@cache
def _shift(level: int) -> np.ndarray:
    """What 2^level zero bytes do to each of the 32 bits of a state, uint32 [32]."""
    if level == 0:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return _table()[bits & 0xFF] ^ (bits >> np.uint32(8))
    half = _shift(level - 1)
    return _apply(half, half)


def _apply(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    out = np.zeros_like(states)
    for bit, image in enumerate(images):
        out ^= np.where(states >> np.uint32(bit) & 1, image, np.uint32(0))
    return out


def _broken(path: Path, record: int, at: int, why: str) -> DataError:
    return DataError(f"{path}: record {record} is corrupt at byte {at}, {why}: get the file again")
