"""The ladder of priors: the same layer with looser ties between its weights, and the nearest one with tighter ties.

A convolution is a fully connected layer under an infinitely strong prior: weights outside the window are zero, weights
at different places are equal (Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4).
"""

from __future__ import annotations

import os
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from ..compute import layouts
from ..description import shapes
from ..description.convolution import Convolution
from ..description.matrix import checked_looser, joined
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from ..nn.conv import Conv
from ..nn.dense import Dense
from ..text import megabytes
from .equivalent import initialised, size_for
from .projections import MatrixTie, PhaseTie, Tie, phase_tie, placed

DENSE = "dense"
MOST_MEMORY = 0.5  # of the machine's, for the weights of a layer


@torch.no_grad()
def widen(module: nn.Module, sharing: Any, input_size: Any = None, *, bias_sharing: Any = None) -> Conv | Dense:
    """The same function with looser ties: a new layer whose weights may become different from place to place.

    module: a convolution of torchconv.nn or torch.nn. sharing: a period, or one per axis (tiled); "none" (unshared);
    "dense" (fully connected, as `as_linear`). input_size: samples per axis, which unshared and dense layers need.
    bias_sharing: the same for the bias; None follows sharing, as far as that is looser.
    Parameters are copies, with the type, the place and requires_grad of the given ones.

    Raises SettingError for a sharing of which the present one is no special case, and where the weights would take more
    than half of the memory; ShapeError for an unfit input size.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4; Le et al. 2010, Tiled convolutional neural
    networks, section 3.

    >>> layer = nn.Conv2d(3, 8, 3, padding=1)
    >>> loose = widen(layer, "none", (6, 6))
    >>> loose.weight.shape, torch.equal(loose.weight[4, 2], layer.weight)
    (torch.Size([6, 6, 8, 3, 3, 3]), True)
    """
    if isinstance(sharing, str) and sharing == DENSE:
        if bias_sharing is not None:
            raise SettingError("bias_sharing of a fully connected layer", got=repr(bias_sharing), expected="None")
        return as_linear(module, input_size)
    layer = initialised(module, "widen")
    conv = layer.convolution
    wanted = Sharing.of(sharing, conv.ndim)
    biases = joined(wanted, conv.bias_sharing) if bias_sharing is None else Sharing.of(bias_sharing, conv.ndim)
    checked_looser(conv.sharing, wanted)
    if conv.bias:
        checked_looser(conv.bias_sharing, biases)
    size = size_for(layer, input_size, required=wanted.needs_size or (conv.bias and biases.needs_size))
    new = Convolution.of_parts(conv.channels, conv.axes, wanted, conv.bias, biases)
    _check_memory("widen", new, size, prod(new.weight_shape(size)) * layer.weight.element_size())
    outputs = None if size is None else conv.output_size(size)
    weight = placed(_weight(layer), conv.sharing.phases(outputs), wanted.phases(outputs))
    bias = layer.bias
    if bias is not None:
        bias = placed(bias, conv.bias_sharing.phases(outputs), biases.phases(outputs))
    return _layer(new, size, weight, bias, layer)


@torch.no_grad()
def narrow(
    module: nn.Module,
    sharing: Any = None,
    *,
    convolution: Convolution | None = None,
    input_size: Any = None,
    bias_sharing: Any = None,
) -> Conv:
    """The nearest layer with tighter ties: the orthogonal projection, in the Frobenius norm of the layers' matrices.

    module: a convolution, a `Dense`, or a torch.nn.Linear on flattened volumes, which needs convolution and input_size.
    sharing: "full" (one kernel everywhere), a period, or one per axis, or "none"; None: that of the convolution that is
    given or that a Dense was made from, "full" for other layers. convolution: a description whose kernel, padding and
    connections are wanted, if not the module's. bias_sharing: the same for the bias; None follows sharing.
    The new layer has `distance`: the norm of what was lost, biases included; 0 where nothing was.
    `narrow(widen(layer, ..), ..)` is the layer. Without an input size tiled layers are projected as if without borders.

    Raises SettingError and ShapeError for what does not go together.
    Source: the projection theorem; section 9.4 as above.

    >>> layer = nn.Conv2d(3, 8, 3, padding=1)
    >>> again = narrow(widen(layer, "none", (6, 6)))
    >>> torch.equal(again.weight, layer.weight), again.distance
    (True, 0.0)
    """
    if not isinstance(convolution, Convolution | None):
        raise SettingError("convolution", got=repr(convolution), expected="a tc.Convolution")
    described = module.convolution if convolution is None and isinstance(module, Dense) else convolution
    if sharing is None:
        sharing = "full" if described is None else described.sharing
        bias_sharing = described.bias_sharing if described is not None and bias_sharing is None else bias_sharing
    if isinstance(module, nn.Linear):
        return _narrow_dense(module, sharing, described, input_size, bias_sharing)
    layer = initialised(module, "narrow")
    conv, size = layer.convolution, size_for(layer, input_size, required=False)
    if described is not None and (described.axes, described.channels) != (conv.axes, conv.channels):
        return _narrow_dense(as_linear(layer, size), sharing, described, size, bias_sharing)  # by the whole matrix
    tight = _tied(conv, sharing, bias_sharing)
    common = joined(conv.sharing, tight.sharing), joined(conv.bias_sharing, tight.bias_sharing)
    if common != (conv.sharing, conv.bias_sharing):
        layer = initialised(widen(layer, common[0], size, bias_sharing=common[1]), "narrow")
    tie, bias_tie = phase_ties(layer.convolution, tight, size)
    weight, squares = _projected(_weight(layer), tie)
    bias, more = (None, 0.0) if layer.bias is None else _projected(layer.bias, bias_tie)
    new = _layer(tight, size, weight, bias, layer)
    new.distance = (squares + more) ** 0.5
    return new


@torch.no_grad()
def as_linear(module: nn.Module, input_size: Any = None) -> Dense:
    """The fully connected layer of a convolution on inputs of one size: its matrix, all of it, zeros included.

    module: a convolution of torchconv.nn or torch.nn. input_size: samples per axis.
    Raises SettingError where the matrix would take more than half of the memory.
    Source: CS231n, Convolutional networks, "Converting FC layers to CONV layers"; section 9.4 as above.

    >>> dense = as_linear(nn.Conv1d(1, 1, 3, padding=1, bias=False), 4)
    >>> (dense.weight == 0).int()
    tensor([[0, 0, 1, 1],
            [0, 0, 0, 1],
            [1, 0, 0, 0],
            [1, 1, 0, 0]], dtype=torch.int32)
    """
    layer = initialised(module, "as_linear")
    conv, size = layer.convolution, size_for(layer, input_size, required=True)
    assert size is not None
    outputs = conv.output_size(size)
    volumes = (conv.in_channels, *size), (conv.out_channels, *outputs)
    _check_memory("as_linear", conv, size, prod(volumes[0]) * prod(volumes[1]) * layer.weight.element_size())
    dense = Dense(*volumes, conv.bias, device="meta", convolution=conv)
    matrix = MatrixTie(conv, size).loosened(_weight(layer).detach())
    dense.weight = _parameter(matrix, layer.weight)
    if layer.bias is not None:
        spread = placed(layer.bias.detach(), conv.bias_sharing.phases(outputs), outputs)
        dense.bias = _parameter(spread.movedim(-1, 0).reshape(-1), layer.bias)
    return dense.train(module.training)


def phase_ties(loose: Convolution, tight: Convolution, size: tuple[int, ...] | None) -> tuple[PhaseTie, ...]:
    """Of the weights and of the biases, from a sharing to one that is a special case of it, on inputs of one size."""
    outputs = None if size is None else loose.output_size(size)
    return (
        phase_tie(loose.axes, loose.sharing, tight.sharing, size, outputs),
        phase_tie(None, loose.bias_sharing, tight.bias_sharing, size, outputs),
    )


def _narrow_dense(
    module: nn.Linear, sharing: Any, described: Convolution | None, input_size: Any, bias_sharing: Any
) -> Conv:
    volume = getattr(module, "volume", None)
    if described is None or (input_size is None and volume is None):
        fix = "Give convolution=tc.Convolution(...) and input_size=..., which say what its values are."
        raise SettingError("narrow of a fully connected layer", got="no convolution to project on", fix=fix)
    size = shapes.sizes_of((volume or ())[1:] if input_size is None else input_size, described.ndim)
    tight = _tied(described, sharing, bias_sharing, module.bias is not None)
    outputs = tight.output_size(size)
    wanted = tight.out_channels * prod(outputs), tight.in_channels * prod(size)
    if tuple(module.weight.shape) != wanted:
        got = f"a matrix of {module.out_features}x{module.in_features}"
        raise ShapeError(f"narrow to {tight} on inputs of {size}", got=got, expected="{}x{}".format(*wanted))
    weight, squares = _projected(module.weight, MatrixTie(tight, size))
    bias, more = None, 0.0
    if module.bias is not None:
        places = module.bias.reshape(tight.out_channels, *outputs).movedim(0, -1)
        bias, more = _projected(places, phase_ties(_tied(tight, "none", None), tight, size)[1])
    new = _layer(tight, size, weight, bias, module)
    new.distance = (squares + more) ** 0.5
    return new


def _projected(values: Tensor, tie: Tie) -> tuple[Tensor, float]:
    """The nearest tied values, and the squared distance."""
    tied = tie.tightened(values)
    return tied, float(tie.squared_norm(values - tie.loosened(tied)))


def _tied(conv: Convolution, sharing: Any, bias_sharing: Any, bias: bool | None = None) -> Convolution:
    wanted = Sharing.of(sharing, conv.ndim)
    biases = wanted if bias_sharing is None else Sharing.of(bias_sharing, conv.ndim)
    return Convolution.of_parts(conv.channels, conv.axes, wanted, conv.bias if bias is None else bias, biases)


def _weight(layer: Conv) -> Tensor:
    """In the description's order."""
    return layouts.plain(layer.weight, layer.layout, layer.convolution)


def _parameter(values: Tensor, like: Any) -> Parameter:
    """A copy, also where nothing had to be changed."""
    values = values.detach()
    return Parameter(values.clone() if values.data_ptr() == like.data_ptr() else values, like.requires_grad)


def _layer(conv: Convolution, size: tuple[int, ...] | None, weight: Tensor, bias: Tensor | None, like: Any) -> Conv:
    """A layer with these numbers, and everything else as it was."""
    options = {name: getattr(like, name) for name in ("precision", "workspace") if isinstance(like, Conv)}
    new = Conv.of(conv, size, device="meta", **options)
    new.weight = _parameter(weight, like.weight)
    if bias is not None:
        new.bias = _parameter(bias, like.bias)
    return new.train(like.training)


def _check_memory(what: str, conv: Convolution, size: tuple[int, ...] | None, count: int) -> None:
    there = MOST_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if count > there:
        got, expected = map(megabytes, (count, there))
        fix = "Ask for a smaller input or tighter ties, or for the sparse matrix, Convolution.matrix."
        told = f"{what} to {conv} on {size}: its weights"
        raise SettingError(told, got=got, expected=f"{expected} at most", fix=fix)
