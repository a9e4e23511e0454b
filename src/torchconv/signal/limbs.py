"""Integers in pieces: balanced digits of a few bits, which float64 convolves exactly, and back with all carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Pieces = list[np.ndarray]  # from the lowest digit to the highest


def split(x: np.ndarray, width: int, count: int) -> Pieces:
    """An array of int64, uint64 or Python integers as `count` digits of `width` bits, each at most half of 2**width."""
    if x.dtype == object:
        return _balanced(_digits_of_bytes(x, width, count), width)
    digits, rest, mask = [], x, x.dtype.type((1 << width) - 1)
    for _ in range(count - 1):
        digits.append((rest & mask).astype(np.int64))
        rest = rest >> x.dtype.type(width)
    return _balanced([*digits, rest.astype(np.int64)], width)


def _digits_of_bytes(x: np.ndarray, width: int, count: int) -> Pieces:
    """Digits of 8 or 16 bits as they lie in memory; the highest has the sign."""
    size = width // 8 * count
    memory = b"".join(int(value).to_bytes(size, "little", signed=True) for value in x.flat)
    unsigned = np.frombuffer(memory, f"<u{width // 8}").reshape(*x.shape, count)
    digits = [unsigned[..., place].astype(np.int64) for place in range(count)]
    digits[-1] -= (digits[-1] >> (width - 1)) << width
    return digits


def _balanced(digits: Pieces, width: int) -> Pieces:
    """Digits 0 to 2**width - 1 as digits around 0, which halves them and, with them, the errors of transforms."""
    for place in range(len(digits) - 1):
        large = digits[place] >> (width - 1)
        digits[place] = digits[place] - (large << width)
        digits[place + 1] = digits[place + 1] + large
    return digits


def _carried(sums: Sequence[np.ndarray], width: int) -> tuple[Pieces, np.ndarray]:
    """Sums of any sign as digits 0 to 2**width - 1, and what is left above them."""
    digits, carry = [], np.int64(0)
    for one in sums:
        total = one + carry
        digits.append(total & ((1 << width) - 1))
        carry = total >> width
    return digits, np.asarray(carry)


def joined(sums: Sequence[np.ndarray], width: int, kind: np.dtype) -> tuple[np.ndarray, bool]:
    """The integers that sums of digits stand for, as int64 or uint64, and whether all of them fit into it."""
    digits, carry = _carried(sums, width)
    result = np.zeros(carry.shape, np.uint64)
    for place, digit in enumerate([*digits, carry]):
        if place * width < 64:
            result |= digit.astype(np.uint64) << np.uint64(place * width)
    result = result.view(kind)
    fits = np.array_equal(_shifted(result, len(digits) * width), carry)
    top = [place for place in range(len(digits)) if (place + 1) * width > 63]
    mask = (1 << width) - 1
    return result, fits and all(np.array_equal(_shifted(result, place * width) & mask, digits[place]) for place in top)


def _shifted(x: np.ndarray, bits: int) -> np.ndarray:
    """Arithmetic or logical shift to the right, by any number of bits, as int64."""
    if x.dtype == np.uint64:
        return (x >> np.uint64(bits)).astype(np.int64) if bits < 64 else np.zeros(x.shape, np.int64)
    return x >> np.int64(min(bits, 63))


def joined_objects(sums: Sequence[np.ndarray], width: int) -> np.ndarray:
    """The integers that sums of digits of 8 or 16 bits stand for, as Python integers."""
    above = [np.zeros_like(sums[0])] * (64 // width)  # room for what is carried beyond the highest sum
    digits, _ = _carried([*sums, *above], width)
    size = width // 8 * len(digits)
    memory = np.stack(digits, -1).astype(f"<u{width // 8}").tobytes()
    values = [int.from_bytes(memory[at : at + size], "little", signed=True) for at in range(0, len(memory), size)]
    result = np.empty(len(values), object)
    result[:] = values
    return result.reshape(sums[0].shape)
