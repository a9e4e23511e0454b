"""Convolutions by Fourier transforms, seen for what they are: products of spectra are circular convolutions.

A spectrum is followed as what it is the spectrum of. Times that of a constant, each sample reads those that the
constant's samples, by where they are not zero, say; the inverse transform gives the samples back. Whatever else is done
to a spectrum makes all of its axes read all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ...description.interval import Interval
from ...receptive.access import AccessPattern, Composed, Contraction, Everything, Pointwise, Reduce
from ...receptive.field import Field, union
from ...receptive.periodic import Progression
from .call import POSITIONAL, WINDOWED, Draft, OperatorCall

Axes = dict[int, np.ndarray]  # by axis, counted from the end: which samples may be other than 0


@dataclass(frozen=True)
class Circular(AccessPattern):
    """A circular convolution along axes counted from the end, with samples of a kernel at these offsets."""

    shape: tuple[int, ...]
    offsets: tuple[tuple[int, tuple[int, ...]], ...]

    def field(self, *fields: Field) -> Field:
        found = fields[0]
        front = (*self.shape[: len(self.shape) - len(found.shape)], *found.shape)
        lead = len(front) - max((-axis for axis, _ in self.offsets), default=0)
        found = union([found], (*self.shape[:lead], *front[lead:]))
        for axis, offsets in self.offsets:
            dim = axis % len(found.shape)
            units = np.arange(found.shape[dim])[:, None]
            table = (units - np.array(offsets)) % found.shape[dim]
            found = found.gathered(dim, table, Progression((Interval(-max(offsets), -min(offsets)),), 1))
        return found


@dataclass(frozen=True)
class InFront(AccessPattern):
    """Another shape of the axes in front of the last ones."""

    shape: tuple[int, ...]
    kept: int

    def field(self, *fields: Field) -> Field:
        last = fields[0].shape[-self.kept :]
        if np.prod(self.shape, dtype=int) != np.prod(fields[0].shape[: -self.kept], dtype=int):
            return union(fields, (*self.shape, *last))
        return fields[0].reshaped((*self.shape, *last))


@dataclass(frozen=True)
class OfSamples(AccessPattern):
    """Of a spectrum, in the shape of the samples that it is the spectrum of."""

    inner: AccessPattern

    def field(self, *fields: Field) -> Field:
        return self.inner.field(*fields)

    def output(self, shape: tuple[int, ...], *fields: Field) -> Field:
        return self.field(*fields)


class Spectra:
    """What is known of tensors that are spectra, and of the zeros in constants, while they live."""

    def __init__(self) -> None:
        self._zeros: Any = WeakIdKeyDictionary()  # of constants: samples that may be other than 0
        self._constant: Any = WeakIdKeyDictionary()  # of constants' spectra: the same of what they are the spectra of
        self._followed: Any = WeakIdKeyDictionary()  # axes along which a tensor that reads the input is a spectrum

    def constant(self, call: OperatorCall) -> None:
        """Note what a call that reads no input makes of a constant."""
        tensors = [one for one in call.given.values() if isinstance(one, Tensor)]
        if not tensors:
            return
        x, out = tensors[0], call.out
        if call.name == "constant_pad_nd" and not call["value"]:
            pads = [int(one) for one in call["pad"]]
            pairs = zip(range(-1, -len(pads) // 2 - 1, -1), pads[::2], pads[1::2], strict=True)
            self._zeros[out] = {axis: _padded(self._samples(x, axis), low, high) for axis, low, high in pairs}
        elif call.name == "flip":
            axes = {int(dim) % x.ndim - x.ndim for dim in call["dims"]}
            known = {*self._zeros.get(x, {})} | axes
            self._zeros[out] = {at: self._samples(x, at)[:: -1 if at in axes else 1] for at in known}
        elif call.name in ("_fft_r2c", "_fft_c2c") and call.given.get("forward", True):
            axes = {int(dim) % x.ndim - x.ndim for dim in call["dim"]}
            self._constant[out] = self._constant.get(x, {}) | {axis: self._samples(x, axis) for axis in axes}
        elif call.name in ("conj", "_conj", "_conj_physical", "conj_physical") and x in self._constant:
            self._constant[out] = {at: np.roll(one[::-1], 1) for at, one in self._constant[x].items()}
        elif call.name in ("unsqueeze", "clone", "view", "resolve_conj", "mul", "div", "neg", "detach", "alias"):
            for kept in (self._zeros, self._constant):
                axes = kept.get(x, {})
                if axes and len(tensors) == 1 and all(x.shape[axis] == call.out.shape[axis] for axis in axes):
                    kept[out] = axes

    def draft(self, call: OperatorCall) -> Draft | None:
        """What a call does that begins with, ends with or goes on with spectra; None where it has to do with none."""
        spectra = [one for one in call.inputs if one in self._followed]
        if call.name in ("_fft_r2c", "_fft_c2c") and call.given.get("forward", True):
            x = call.x
            axes = self._followed.get(x, frozenset()) | {int(dim) % x.ndim - x.ndim for dim in call["dim"]}
            return self._spectrum(call, Draft("fft", Pointwise(), (x,), locality=POSITIONAL), axes)
        if not spectra:
            found = Draft("fft", Everything(call.shape), (call.x,), locality=POSITIONAL)
            return found if call.name.startswith("_fft") else None
        axes = self._followed[spectra[0]]
        if call.name in ("_fft_c2r", "_fft_c2c"):
            back = {int(dim) % call.x.ndim - call.x.ndim for dim in call["dim"]}
            if back <= axes and call.out.ndim == call.x.ndim:
                return self._spectrum(call, Draft("fft", Pointwise(), (call.x,), locality=POSITIONAL), axes - back)
        elif any(self._followed.get(one) != axes for one in call.inputs):
            pass
        elif call.name in ("add", "sub", "neg", "clone", "alias", "_conj_physical_", "detach"):
            return self._spectrum(call, Draft(call.name, Pointwise()), axes)
        elif call.name in ("view", "unsqueeze", "squeeze", "expand"):
            count = -min(axes)
            if call.x.shape[-count:] == call.out.shape[-count:]:
                return self._spectrum(call, Draft("reshape", InFront(call.shape[:-count], count)), axes)
        elif call.name == "sum" and not axes & {int(dim) % call.x.ndim - call.x.ndim for dim in call["dim"]}:
            dims, keep = tuple(int(dim) % call.x.ndim for dim in call["dim"]), bool(call["keepdim"])
            if keep or max(dims) < call.x.ndim + min(axes):
                return self._spectrum(call, Draft("sum", Reduce(dims, keep)), axes)
        elif call.name in ("mul", "einsum") and len(call.inputs) == 1:
            found = self._product(call, axes)
            if found is not None:
                return self._spectrum(call, found, axes)
        return Draft(call.name, Everything(call.shape), locality=POSITIONAL)

    def _product(self, call: OperatorCall, axes: frozenset[int]) -> Draft | None:
        x = call.inputs[0]
        others = [one for one in call.tensors() if one is not x]
        if not others or others[0].numel() == 1:
            return Draft("mul", Pointwise(), (x,))
        known = self._constant.get(others[0], {})
        lengths = {axis: len(known[axis]) for axis in axes if axis in known}
        if set(lengths) != axes or not all(one.any() for one in known.values()):
            return None
        offsets = tuple((axis, _offsets(known[axis])) for axis in sorted(axes))
        if call.name == "mul":
            return Draft("mul", Circular(call.shape, offsets), (x,), locality=WINDOWED)
        left, right, result = terms_of(call["equation"])
        first = left if call["operands"][0] is x else right
        if any(first[axis] != result[axis] or (left + right).count(first[axis]) != 2 for axis in axes):
            return None
        way = Composed((Contraction((first,), result, call.shape), Circular(call.shape, offsets)))
        return Draft("einsum", way, (x,), locality=WINDOWED)

    def _spectrum(self, call: OperatorCall, step: Draft, axes: frozenset[int]) -> Draft:
        if not axes:
            return step
        self._followed[call.out] = axes
        return replace(step, pattern=OfSamples(step.pattern))

    def _samples(self, x: Tensor, axis: int) -> np.ndarray:
        known = self._zeros.get(x, {})
        return known[axis] if axis in known else np.ones(x.shape[axis], dtype=bool)


def _padded(samples: np.ndarray, low: int, high: int) -> np.ndarray:
    cut = samples[max(-low, 0) : len(samples) - max(-high, 0)]
    return np.pad(cut, (max(low, 0), max(high, 0)))


def _offsets(samples: np.ndarray) -> tuple[int, ...]:
    """Where a kernel is other than 0; the far half counts as before the first."""
    places = np.flatnonzero(samples)
    if places[-1] - places[0] <= len(samples) // 2 or places[0] > 0:
        return tuple(int(one) for one in places)
    return tuple(int(one) if one <= len(samples) // 2 else int(one) - len(samples) for one in places)


def terms_of(equation: str) -> tuple[str, str, str]:
    """The letters of both factors and of the result."""
    sides, _, result = equation.replace(" ", "").partition("->")
    left, _, right = sides.partition(",")
    return left, right, result
