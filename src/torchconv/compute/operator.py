"""The one door to computing a convolution: differentiable, on any algorithm, for every description."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..description import shapes
from ..description.convolution import Convolution
from ..description.sharing import Sharing
from ..errors import ShapeError
from . import borders, layouts, planner, tables
from .algorithms import Algorithm, Problem
from .algorithms.torch_kernels import TorchKernels, static_call
from .trilinear import INPUT, OUTPUT, WEIGHT, apply


class Operator:
    """A described convolution on tensors: the map, and its adjoints towards input and weights.

    What the chosen algorithm does not take itself is done around it, once for all of them: borders that reflect,
    replicate or wrap are put in place, tables become grouped convolutions, weights are brought into plain layout.

    convolution: the description; algorithm: a name or "auto"; layout: how the weights are written (layouts.py).
    """

    def __init__(self, convolution: Convolution, algorithm: str = "auto", layout: str = layouts.PLAIN) -> None:
        planner.check_algorithm(algorithm)
        self.convolution, self.algorithm, self.layout = convolution, algorithm, layout
        self._extended = borders.extended(convolution)
        self._parts = () if convolution.channels.rows is None else tables.parts(self._extended)
        self._batched = convolution.ndim + 2
        # An ordinary convolution goes straight to torch: what is checked here need not be checked at every call.
        direct = (
            algorithm in ("auto", TorchKernels.name) and layout != layouts.FLIPPED and convolution.bias_sharing.is_full
        )
        call = static_call(convolution, layout == layouts.TRANSPOSED) if direct else None
        self._direct = None if call is None else call.bound()

    def __reduce__(self):
        return Operator, (self.convolution, self.algorithm, self.layout)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (batch, in, *size), or without a batch, to (batch, out, *output size)."""
        if self._direct is None or x.ndim != self._batched:
            return self._general(x, weight, bias)
        function, arguments = self._direct
        try:
            return function(x, weight, bias, *arguments)
        except RuntimeError:  # torch refuses: the general way says why in the words of the request, or finds a way
            return self._general(x, weight, bias)

    def input_grad(self, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        """grad (batch, out, *output size) to (batch, in, *input_size); conjugates complex weights."""
        conv, sizes = self.convolution, tuple(input_size)
        self._check_input(grad, conv.out_channels, shapes.output_sizes(conv.axes, sizes), "grad_output")
        self._check_weight(weight, sizes)
        grad, weight = _cast(grad, weight)
        weight = self._plain(weight).conj()
        algorithm = self._choose(grad)
        inner, inner_sizes = self._inner(algorithm, sizes)
        if not self._parts or algorithm.takes_tables:
            result = apply(INPUT, algorithm, inner, grad, weight, inner_sizes)
        else:
            pieces = [
                apply(
                    INPUT,
                    algorithm,
                    part.convolution,
                    tables.gather(grad, 1, part.outputs),
                    tables.part_weight(part, weight, conv.sharing),
                    inner_sizes,
                )
                for part in self._parts
            ]
            result = tables.scatter(pieces, 1, [part.inputs for part in self._parts], conv.in_channels)
        return result if algorithm.takes_borders else borders.unextend(conv, result, sizes)

    def weight_grad(self, x: Tensor, grad: Tensor) -> Tensor:
        """x (batch, in, *size), grad (batch, out, *output size) to the shape of the weights; conjugates complex x."""
        conv, sizes = self.convolution, tuple(x.shape[2:])
        self._check_input(x, conv.in_channels, None, "input")
        self._check_input(grad, conv.out_channels, shapes.output_sizes(conv.axes, sizes), "grad_output")
        x, grad = _cast(x, grad)
        algorithm = self._choose(x)
        inner, inner_sizes = self._inner(algorithm, sizes)
        x = (x if algorithm.takes_borders else borders.extend(conv, x)).conj()
        if not self._parts or algorithm.takes_tables:
            return self._written(apply(WEIGHT, algorithm, inner, x, grad, inner_sizes))
        axis = 0 if conv.sharing.is_full else conv.ndim
        pieces = []
        for part in self._parts:
            image, target = tables.gather(x, 1, part.inputs), tables.gather(grad, 1, part.outputs)
            piece = apply(WEIGHT, algorithm, part.convolution, image, target, inner_sizes)
            pieces.append(piece.flatten(axis, axis + 1))
        return self._written(tables.scatter(pieces, axis, [part.weights for part in self._parts], conv.channels.count))

    def _general(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.ndim == self._batched - 1:
            return self._general(x.unsqueeze(0), weight, bias).squeeze(0)
        self._check(x, weight, bias)
        x, weight = _cast(x, weight)
        conv, algorithm = self.convolution, self._choose(x)
        weight = self._plain(weight)
        inner, sizes = self._inner(algorithm, x.shape[2:])
        x = x if algorithm.takes_borders else borders.extend(conv, x)
        if isinstance(algorithm, TorchKernels) and not self._parts and conv.bias_sharing.is_full:
            return algorithm.output(inner, x, weight, None if bias is None else bias.to(x.dtype))
        if not self._parts or algorithm.takes_tables:
            y = apply(OUTPUT, algorithm, inner, x, weight, sizes)
        else:
            pieces = [
                apply(
                    OUTPUT,
                    algorithm,
                    part.convolution,
                    tables.gather(x, 1, part.inputs),
                    tables.part_weight(part, weight, conv.sharing),
                    sizes,
                )
                for part in self._parts
            ]
            y = tables.scatter(pieces, 1, [part.outputs for part in self._parts], conv.out_channels)
        return y if bias is None else y + spread_bias(bias.to(y.dtype), conv.bias_sharing, tuple(y.shape[2:]))

    def _choose(self, x: Tensor) -> Algorithm:
        return planner.choose(Problem(self.convolution, x.dtype, x.device.type), self.algorithm)

    def _inner(self, algorithm: Algorithm, sizes: Sequence[int]) -> tuple[Convolution, Sequence[int]]:
        """The convolution that the algorithm is given, and the size of its input."""
        if algorithm.takes_borders:
            return self.convolution, sizes
        bordered = zip(self.convolution.axes, sizes, strict=True)
        return self._extended, tuple(shapes.bordered(axis, size) for axis, size in bordered)

    def _plain(self, weight: Tensor) -> Tensor:
        """The weights in the shape of the description; a table that groups say may come as a list of connections."""
        conv = self.convolution
        phases = 0 if conv.sharing.is_full else conv.ndim
        if conv.channels.rows is None and weight.ndim == phases + 1 + conv.ndim:
            weight = weight.unflatten(phases, conv.channels.weight_shape)
        return layouts.plain(weight, self.layout, conv)

    def _written(self, weight: Tensor) -> Tensor:
        """Plain weights in the layout of this operator."""
        return layouts.plain(weight, self.layout, self.convolution)

    def _check(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        conv = self.convolution
        self._check_input(x, conv.in_channels, None, "input")
        sizes = tuple(x.shape[-conv.ndim :])
        outputs = shapes.output_sizes(conv.axes, sizes, conv)
        self._check_weight(weight, sizes)
        expected = (*conv.bias_sharing.phases(outputs), conv.out_channels)
        if bias is not None and tuple(bias.shape) != expected:
            raise ShapeError(f"bias of convolution {conv}", got=tuple(bias.shape), expected=expected)
        if x.dtype != weight.dtype and _autocast_dtype(x.device.type) is None:
            raise ShapeError(
                f"convolution {conv}", got=f"an input of {x.dtype} and weights of {weight.dtype}", expected="one dtype"
            )

    def _check_input(self, x: Tensor, channels: int, size: tuple[int, ...] | None, name: str) -> None:
        conv = self.convolution
        shape = tuple(x.shape)
        if len(shape) not in (conv.ndim + 1, conv.ndim + 2) or shape[-conv.ndim - 1] != channels:
            wanted = ", ".join(["batch", str(channels), *(["size"] * conv.ndim if size is None else map(str, size))])
            raise ShapeError(f"{name} of convolution {conv}", got=f"shape {shape}", expected=f"({wanted})")
        if size is not None and shape[-conv.ndim :] != size:
            raise ShapeError(f"{name} of convolution {conv}", got=f"size {shape[-conv.ndim :]}", expected=f"{size}")

    def _check_weight(self, weight: Tensor, sizes: tuple[int, ...]) -> None:
        conv = self.convolution
        phases = conv.sharing.phases(shapes.output_sizes(conv.axes, sizes, conv))
        expected = layouts.shape(conv, phases, self.layout)
        listed = (*phases, conv.channels.count, *conv.kernel_size)
        shape = tuple(weight.shape)
        if shape != expected and shape != listed:  # not `in`, which a compiler cannot follow for sizes it leaves open
            what = f"weight of convolution {conv} on an input of {sizes}"
            raise ShapeError(what, got=shape, expected=expected)


def spread_bias(bias: Tensor, sharing: Sharing, output_size: tuple[int, ...]) -> Tensor:
    """(*bias phases, out) to (out, *output size), or to what broadcasts to it."""
    if sharing.is_full:
        return bias.reshape(-1, *(1,) * len(output_size))
    bias = bias.movedim(-1, 0)
    for axis, (period, size) in enumerate(zip(sharing.periods, output_size, strict=True), 1):
        if period is not None:
            bias = bias.index_select(axis, torch.arange(size, device=bias.device) % period)
    return bias


def _cast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in autocast's type where autocast is on, as torch does for its own convolutions."""
    dtype = _autocast_dtype(a.device.type)
    if dtype is not None:
        a, b = (t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in (a, b))
    return a, b


def _autocast_dtype(device: str) -> torch.dtype | None:
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return None
