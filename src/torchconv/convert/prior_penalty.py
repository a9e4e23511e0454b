"""A finite prior between two rungs: weights are drawn towards the nearest layer with tighter ties while they learn."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isnan
from typing import Any

import torch
from torch import Tensor, nn

from ..compute import layouts
from ..description.convolution import Convolution
from ..description.matrix import joined
from ..description.sharing import Sharing
from ..errors import SettingError
from ..nn.conv import Conv
from ..nn.dense import Dense
from . import projections

Tied = tuple[nn.Parameter, projections.Tie]


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
        self._known: dict[tuple, tuple[projections.Tie, ...]] = {}

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty, a scalar that can be differentiated."""
        if self.strength == inf:
            fix = "Call pull_(model, step) after every step of the optimiser."
            raise SettingError("strength of a penalty", got=self.strength, expected="a finite number", fix=fix)
        squares = {
            name: torch.stack([tie.squared_distance(values) for values, tie in tied])
            for name, tied in self._layers(model)
        }
        self.log.append({name: float(each.detach().sum().sqrt()) for name, each in squares.items()})
        return self.strength / 2 * torch.stack([each.sum() for each in squares.values()]).sum()

    @torch.no_grad()
    def distances(self, model: nn.Module) -> dict[str, float]:
        """How far every loose layer is from its nearest tight one: the Frobenius norm, by the layer's name."""
        return {
            name: float(sum(tie.squared_distance(values) for values, tie in tied)) ** 0.5
            for name, tied in self._layers(model)
        }

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

    def _layers(self, model: nn.Module) -> Iterator[tuple[str, list[Tied]]]:
        if not isinstance(model, nn.Module):
            raise SettingError("model of a prior", got=type(model).__name__, expected="a torch.nn.Module")
        found = False
        for name, module in model.named_modules():
            tied = self._tied(module)
            if tied:
                found = True
                yield name, tied
        if not found:
            fix = 'Widen one first, e.g. with tc.widen(layer, "none", input_size).'
            raise SettingError(f"a prior towards sharing {self.sharing}", got="a model without a looser layer", fix=fix)

    def _tied(self, module: nn.Module) -> list[Tied]:
        """The parameters of a layer that are looser than the prior's, with their ties."""
        conv = getattr(module, "convolution", None)
        if not isinstance(module, Conv | Dense) or conv is None:
            return []
        wanted = Sharing.of(self.sharing, conv.ndim)
        tight = Convolution.of_parts(conv.channels, conv.axes, wanted, conv.bias, wanted)
        found = self._of_dense(module, tight) if isinstance(module, Dense) else self._of_conv(module, tight)
        return [(values, tie) for values, tie in found if values is not None]

    def _of_dense(self, module: Dense, tight: Convolution) -> list:
        key = (tight, module.volume, "dense")
        if key not in self._known:
            self._known[key] = projections.dense_ties(tight, module.volume[1:], module.outputs[1:])
        return list(zip((module.weight, module.bias), self._known[key], strict=True))

    def _of_conv(self, module: Conv, tight: Convolution) -> list:
        conv, layout = module.convolution, module.layout
        pairs = (conv.sharing, tight.sharing), (conv.bias_sharing, tight.bias_sharing)
        looser = [joined(*pair) == pair[0] != pair[1] for pair in pairs]
        if not any(looser):
            return []
        key = (conv, tight, module.input_size, layout)
        if key not in self._known:
            size = module.input_size
            tie, bias = projections.phase_ties(conv, tight, size, None if size is None else conv.output_size(size))

            def plain(values: Tensor) -> Tensor:
                return layouts.plain(values, layout, conv)

            self._known[key] = (tie if layout == layouts.PLAIN else projections.ViewedTie(tie, plain, plain), bias)
        triples = zip((module.weight, module.bias), self._known[key], looser, strict=True)
        return [(values, tie) for values, tie, loose in triples if loose]
