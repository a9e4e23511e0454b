"""Correlations with steps of 1 by torch's transforms of tiles, on 1 to 3 axes, in double precision too."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ...weight_cache import Kernels
from .tile_costs import PAYS
from .tiles import Tiling

NARROW = (torch.bfloat16, torch.float16)  # computed in float32


def correlate(x: Tensor, kernels: Kernels, groups: int, room: int) -> Tensor:
    """The valid correlation with steps of 1: (n, in, *size) to (n, out, *windows), by torch's transforms."""
    if x.dtype in NARROW:
        return correlate(x.float(), kernels, groups, room).to(x.dtype)
    tiling = Tiling.of(tuple(x.shape), tuple(kernels.shape), groups, room // x.element_size())

    def transformed(weight: Tensor) -> Tensor:  # (groups, out, in, *frequencies)
        return tiling.spectra(weight.unflatten(0, (groups, -1))).conj()

    count, tiles = kernels.shape[0] * kernels.shape[1], x.shape[0] * prod(tiling.counts)
    size = 2 * x.element_size() * count * prod(tiling.lengths)
    pays = count > PAYS * tiles * (x.shape[1] + kernels.shape[0])
    found = kernels.recall(tiling.lengths, size, transformed) if pays and size <= room else None
    spectra = transformed(kernels.make()) if found is None else found
    if len(x) <= tiling.images:
        return tiling.windows(_outputs(tiling.spectra(tiling.tiles(x)), spectra, tiling))
    y = x.new_empty(len(x), kernels.shape[0], *tiling.outputs)
    for part, place in zip(tiling.parts(x), tiling.parts(y), strict=True):
        place.copy_(tiling.windows(_outputs(tiling.spectra(tiling.tiles(part)), spectra, tiling)))
    return y


def weight_grad(x: Tensor, grad: Tensor, kernel: Sequence[int], groups: int, room: int) -> Tensor:
    """The adjoint of `correlate` towards the weights."""
    if x.dtype in NARROW:
        return weight_grad(x.float(), grad.float(), kernel, groups, room).to(x.dtype)
    outs, ins = grad.shape[1], x.shape[1] // groups
    tiling = Tiling.of(tuple(x.shape), (outs, ins, *kernel), groups, room // x.element_size())
    total = None
    for images, grads in zip(tiling.parts(x), tiling.parts(grad), strict=True):
        found = _products(tiling.spectra(tiling.tiles(images)), tiling.spectra(tiling.cells(grads)).conj(), tiling)
        total = found if total is None else total + found
    assert total is not None
    return tiling.kernels(total).flatten(0, 1)


def _outputs(x: Tensor, kernels: Tensor, tiling: Tiling) -> Tensor:
    """Spectra (n, in, *tiles, *frequencies) times kernels (groups, out, in, *frequencies): (n, out, *tiles, ...)."""
    groups, outs, ins = kernels.shape[:3]
    count, tiles, points = x.shape[0], tiling.counts, x.shape[-tiling.ndim :]
    if outs == ins == 1:
        return x * kernels.reshape(groups, *(1,) * tiling.ndim, *points)
    x = x.reshape(count, groups, ins, prod(tiles), prod(points)).permute(4, 1, 0, 3, 2)
    x = x.reshape(prod(points), groups, count * prod(tiles), ins)
    y = x @ kernels.flatten(3).permute(3, 0, 2, 1)
    y = y.reshape(prod(points), groups, count, prod(tiles), outs).permute(2, 1, 4, 3, 0)
    return y.reshape(count, groups * outs, *tiles, *points)


def _products(x: Tensor, grad: Tensor, tiling: Tiling) -> Tensor:
    """Spectra of inputs and of gradients to those of the kernels' gradient: (groups, out, in, *frequencies)."""
    groups = tiling.groups
    count, tiles, points = x.shape[0], prod(tiling.counts), x.shape[-tiling.ndim :]
    x = x.reshape(count, groups, -1, tiles, prod(points))
    grad = grad.reshape(count, groups, -1, tiles, prod(points))
    if x.shape[2] == grad.shape[2] == 1:
        return (x * grad).sum((0, 3)).reshape(groups, 1, 1, *points)
    rows = grad.permute(4, 1, 2, 0, 3).flatten(3)  # (points, groups, out, n * tiles)
    columns = x.permute(4, 1, 0, 3, 2).flatten(2, 3)  # (points, groups, n * tiles, in)
    return (rows @ columns).permute(1, 2, 3, 0).reshape(groups, grad.shape[2], x.shape[2], *points)
