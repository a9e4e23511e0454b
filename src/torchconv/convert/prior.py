"""The ladder of priors: a layer with looser ties between its weights, the nearest with tighter ties, and a penalty.

A convolution is a fully connected layer under an infinitely strong prior: weights outside the window are zero, weights
at different places are equal (Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan, prod
from typing import Any

import torch
from torch import Tensor, nn

from ..compute import layouts
from ..description import shapes
from ..description.convolution import Convolution
from ..description.matrix import checked_looser, joined
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from ..nn.conv import Conv
from ..nn.local import Dense
from ..text import megabytes
from .equivalent import LayerValues, copied
from .projections import MatrixTie, Tie, ViewedTie, dense_ties, phase_ties, placed


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
    if isinstance(sharing, str) and sharing == "dense":
        if bias_sharing is not None:
            raise SettingError("bias_sharing of a fully connected layer", got=repr(bias_sharing), expected="None")
        return as_linear(module, input_size)
    values = LayerValues.of(module, input_size, "widen")
    conv = values.convolution
    wanted = Sharing.of(sharing, conv.ndim)
    biases = joined(wanted, conv.bias_sharing) if bias_sharing is None else Sharing.of(bias_sharing, conv.ndim)
    checked_looser(conv.sharing, wanted)
    if conv.bias:
        checked_looser(conv.bias_sharing, biases)
    if wanted.needs_size or (conv.bias and biases.needs_size):
        values = values.sized()
    return _loosened(values, wanted, biases, "widen").module()


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
    values = LayerValues.of(module, input_size, "narrow")
    conv = values.convolution
    if described is not None and (described.axes, described.channels) != (conv.axes, conv.channels):
        dense = _dense(values.sized(), "narrow")  # by the whole matrix
        return _narrow_dense(dense, sharing, described, values.size, bias_sharing)
    tight = _tied(conv, sharing, bias_sharing)
    common = joined(conv.sharing, tight.sharing), joined(conv.bias_sharing, tight.bias_sharing)
    if common != (conv.sharing, conv.bias_sharing):
        values = _loosened(values, *common, "narrow")
    return _nearest(values, tight, phase_ties(values.convolution, tight, values.size, values.outputs))


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
    return _dense(LayerValues.of(module, input_size, "as_linear").sized(), "as_linear").train(module.training)


def _dense(values: LayerValues, what: str) -> Dense:
    conv, size, outputs = values.convolution, values.size, values.outputs
    assert size is not None, "of a layer on inputs of one size"
    assert outputs is not None, "of a layer on inputs of one size"
    volumes = (conv.in_channels, *size), (conv.out_channels, *outputs)
    _check_memory(what, conv, size, prod(volumes[0]) * prod(volumes[1]) * values.weight.element_size())
    dense = Dense(*volumes, conv.bias, device="meta", convolution=conv)
    dense.weight = copied(MatrixTie(conv, size).loosened(values.weight.detach()), values.like.weight)
    if values.bias is not None:
        spread = placed(values.bias.detach(), conv.bias_sharing.phases(outputs), outputs)
        dense.bias = copied(spread.movedim(-1, 0).reshape(-1), values.like.bias)
    return dense


def _loosened(values: LayerValues, sharing: Sharing, bias_sharing: Sharing, what: str) -> LayerValues:
    """The same function with looser ties."""
    conv, size, outputs, bias = values.convolution, values.size, values.outputs, values.bias
    new = Convolution.of_parts(conv.channels, conv.axes, sharing, conv.bias, bias_sharing)
    _check_memory(what, new, size, prod(new.weight_shape(size)) * values.weight.element_size())
    weight = placed(values.weight, conv.sharing.phases(outputs), sharing.phases(outputs))
    if bias is not None:
        bias = placed(bias, conv.bias_sharing.phases(outputs), bias_sharing.phases(outputs))
    return replace(values, convolution=new, weight=weight, bias=bias)


def _nearest(values: LayerValues, tight: Convolution, ties: Sequence[Tie]) -> Conv:
    """The layer of the nearest tied values, with its distance."""
    pairs = [(loose, tie) for loose, tie in zip((values.weight, values.bias), ties, strict=True) if loose is not None]
    tied = [tie.tightened(loose) for loose, tie in pairs]
    squares = sum(float(tie.squared_norm(x - tie.loosened(y))) for (x, tie), y in zip(pairs, tied, strict=True))
    new = replace(values, convolution=tight, weight=tied[0], bias=tied[1] if tied[1:] else None).module()
    new.distance = squares**0.5
    return new


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
    values = LayerValues(tight, size, outputs, module.weight, module.bias, module)
    return _nearest(values, tight, dense_ties(tight, size, outputs))


def _tied(conv: Convolution, sharing: Any, bias_sharing: Any, bias: bool | None = None) -> Convolution:
    wanted = Sharing.of(sharing, conv.ndim)
    biases = wanted if bias_sharing is None else Sharing.of(bias_sharing, conv.ndim)
    return Convolution.of_parts(conv.channels, conv.axes, wanted, conv.bias if bias is None else bias, biases)


def _check_memory(what: str, conv: Convolution, size: tuple[int, ...] | None, count: int) -> None:
    there = 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # half of the machine's memory
    if count > there:
        got, expected = map(megabytes, (count, there))
        fix = "Ask for a smaller input or tighter ties, or for the sparse matrix, Convolution.matrix."
        told = f"the weights of {what} to {conv}" + (f" on inputs of {size}" if size else "")
        raise SettingError(told, got=got, expected=f"{expected} at most", fix=fix)


class PriorPenalty:
    """strength / 2 times the squared distance of every loose layer of a model from its nearest tighter one.

    It is the negative logarithm of a Gaussian prior around the layers with tighter ties. strength: a number >= 0, in
    units of the loss: 0 leaves the loose layers alone, and the larger it is the more they are like tight ones.
    sharing: of the tight layers, "full" for ordinary convolutions, or a period, or one per axis.
    Layers count that are unshared, tiled, or a `Dense` with a convolution; their biases too.

    Add `penalty(model)` to the loss. Or call `penalty.pull_(model, step)` after every step of the optimiser: the exact
    proximal step, which is stable however strong the prior is, and with an infinite one puts the tight layers in place.
    log: of every call, the distances before it, {name: Frobenius norm}.

    Raises SettingError for a strength below 0, and for a model without a looser layer.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4; Parikh, Boyd 2014, Proximal algorithms,
    section 6.1.1, for the proximal step of a quadratic.

    >>> from torchconv.nn import LocallyConnected2d
    >>> layer, penalty = LocallyConnected2d(1, 2, 3, input_size=(6, 6)), PriorPenalty(inf)
    >>> penalty.pull_(layer, step=0.1)
    >>> penalty.distances(layer)[""] < 1e-5
    True
    """

    def __init__(self, strength: float, sharing: Any = "full") -> None:
        if isinstance(strength, bool) or not isinstance(strength, int | float) or isnan(strength) or strength < 0:
            raise SettingError("strength of a prior", got=repr(strength), expected="a number >= 0")
        self.strength, self.sharing = float(strength), sharing
        self.log: list[dict[str, float]] = []
        self._known: dict[tuple, tuple[Tie, ...]] = {}

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty, a scalar that can be differentiated."""
        if self.strength == inf:
            fix = "Call pull_(model, step) after every step of the optimiser."
            raise SettingError("strength of a penalty", got=self.strength, expected="a finite number", fix=fix)
        squares = self._squares(model)
        self.log.append({name: float(each.detach().sqrt()) for name, each in squares.items()})
        return self.strength / 2 * torch.stack(list(squares.values())).sum()

    @torch.no_grad()
    def distances(self, model: nn.Module) -> dict[str, float]:
        """How far every loose layer is from its nearest tight one: the Frobenius norm, by the layer's name."""
        return {name: float(each.sqrt()) for name, each in self._squares(model).items()}

    def _squares(self, model: nn.Module) -> dict[str, Tensor]:
        layers = self._layers(model)
        return {name: torch.stack([tie.squared_distance(x) for x, tie in tied]).sum() for name, tied in layers}

    @torch.no_grad()
    def pull_(self, model: nn.Module, step: float) -> None:
        """Move every loose layer towards its nearest tight one, after a gradient step of this length on the loss.

        The result minimises |W - given W|^2 / 2 + step * penalty(W), in the norm of the layers' matrices.
        """
        if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < inf:
            raise SettingError("step of a prior's pull", got=repr(step), expected="a finite number > 0")
        weight = step * self.strength  # may overflow to infinity, which is a projection
        share = 1 / (1 + 1 / weight) if weight else 0.0
        found: dict[str, float] = {}
        for name, tied in self._layers(model):
            squares = 0.0
            for values, tie in tied:
                if not isinstance(values, nn.Parameter):
                    fix = "Add penalty(model) to the loss, which is differentiable."
                    got = "values computed from other parameters, which cannot be set"
                    raise SettingError(f"pull_ of layer {name!r}", got=got, fix=fix)
                nearest = tie.nearest(values)
                squares += float(tie.squared_norm(values - nearest))
                values.lerp_(nearest, share)
            found[name] = squares**0.5
        self.log.append(found)

    def _layers(self, model: nn.Module) -> list[tuple[str, list[tuple[Tensor, Tie]]]]:
        """The loose layers by name, with those of their parameters that are looser than the prior's, and their ties."""
        if not isinstance(model, nn.Module):
            raise SettingError("model of a prior", got=type(model).__name__, expected="a torch.nn.Module")
        found = [(name, tied) for name, module in model.named_modules() if (tied := self._tied(module))]
        if not found:
            fix = 'Widen one first, e.g. with tc.widen(layer, "none", input_size).'
            raise SettingError(f"a prior towards sharing {self.sharing}", got="a model without a looser layer", fix=fix)
        return found

    def _tied(self, module: nn.Module) -> list[tuple[Tensor, Tie]]:
        conv = getattr(module, "convolution", None)
        if not isinstance(module, Conv | Dense) or conv is None:
            return []
        wanted = Sharing.of(self.sharing, conv.ndim)
        tight = Convolution.of_parts(conv.channels, conv.axes, wanted, conv.bias, wanted)
        if isinstance(module, Dense):
            looser, key = [True, True], (tight, module.volume, "dense")
        else:
            pairs = (conv.sharing, tight.sharing), (conv.bias_sharing, tight.bias_sharing)
            looser = [joined(*pair) == pair[0] != pair[1] for pair in pairs]
            key = (tight, module.input_size, conv, module.layout)
        if not any(looser):
            return []
        if key not in self._known:
            self._known[key] = _ties(module, tight)
        triples = zip((module.weight, module.bias), self._known[key], looser, strict=True)
        return [(values, tie) for values, tie, loose in triples if loose and values is not None]


def _ties(module: Conv | Dense, tight: Convolution) -> tuple[Tie, Tie]:
    """Of the weights and of the biases of a layer."""
    if isinstance(module, Dense):
        return dense_ties(tight, module.volume[1:], module.outputs[1:])
    conv, layout, size = module.convolution, module.layout, module.input_size
    tie, bias = phase_ties(conv, tight, size, None if size is None else conv.output_size(size))

    def plain(values: Tensor) -> Tensor:
        return layouts.plain(values, layout, conv)

    return (tie if layout == layouts.PLAIN else ViewedTie(tie, plain, plain)), bias
