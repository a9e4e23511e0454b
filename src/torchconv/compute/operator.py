"""The one door to computing a convolution: differentiable, on any algorithm, for every description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..description import shapes
from ..description.convolution import Convolution
from ..errors import ShapeError, UnsupportedError
from . import layouts, padding
from .algorithms.torch_kernels import TorchKernels, static_call
from .autograd import apply
from .planning import choose
from .planning.choose import Choice
from .problem import Problem
from .tensors import INPUT, OUTPUT, THREAD, WEIGHT, Observer, autocast_dtype, cast, check_tensors
from .weight_cache import is_frozen

MOST_KNOWN = 256  # shapes of one convolution for which preparations are kept


class Operator:
    """A described convolution on tensors: the map, and its adjoints towards input and weights.

    What the chosen algorithm does not take itself is done around it, once for all of them: borders that reflect,
    replicate or wrap are put in place, tables become grouped convolutions, weights are brought into plain layout.

    convolution: the description; algorithm: a name or "auto"; layout: how the weights are written (layouts.py);
    precision: "auto", or "fast" or "bf16", which allow less exact algorithms;
    workspace: bytes that an operation may take beside input, weights and output, or None for the default.
    """

    def __init__(
        self,
        convolution: Convolution,
        algorithm: str = "auto",
        layout: str = layouts.PLAIN,
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        choose.check(algorithm, precision, workspace)
        self.convolution, self.algorithm, self.layout, self.precision = convolution, algorithm, layout, precision
        self.workspace = workspace
        self._extended = padding.extended(convolution)
        self._parts = () if convolution.channels.rows is None else layouts.table_parts(self._extended)
        self._batched = convolution.ndim + 2
        self._known: dict[tuple, Callable[..., Tensor]] = {}
        # An ordinary convolution goes straight to torch: what is checked here need not be checked at every call.
        torchs = algorithm in ("auto", TorchKernels.name) and layout != layouts.FLIPPED
        plain = torchs and convolution.bias_sharing.is_full
        call = static_call(convolution, layout == layouts.TRANSPOSED) if plain else None
        always = algorithm == TorchKernels.name or (plain and choose.takes_first(convolution, precision))
        self._torchs = None if call is None else call.bound()
        self._direct = self._torchs if always else None

    def __reduce__(self):
        return Operator, (self.convolution, self.algorithm, self.layout, self.precision, self.workspace)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (batch, in, *size), or without a batch, to (batch, out, *output size)."""
        observer = THREAD.observer
        if observer is not None and not torch.compiler.is_compiling():
            return self._observed(observer, x, weight, bias)
        if self._direct is not None and isinstance(x, Tensor) and x.ndim in (self._batched, self._batched - 1):
            function, arguments = self._direct
            try:
                return function(x, weight, bias, *arguments)
            except (RuntimeError, TypeError):
                pass  # torch refuses: the general way says why in the words of the request, or finds a way
        return self._general(x, weight, bias)

    def _observed(self, observer: Observer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        from ..network.operations import Convolve  # here, because who traces nothing need not wait for networks

        self.check_input(x)
        if x.ndim == self._batched - 1:
            return self._observed(observer, x.unsqueeze(0), weight, bias).squeeze(0)
        return observer.whole(Convolve(self.convolution), [x, weight, *([] if bias is None else [bias])], self)

    def input_grad(self, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        """grad (batch, out, *output size) to (batch, in, *input_size); conjugates complex weights."""
        conv, sizes = self.convolution, tuple(input_size)
        if grad.ndim == self._batched - 1:
            return self.input_grad(grad.unsqueeze(0), weight, input_size).squeeze(0)
        self._check_input(grad, conv.out_channels, shapes.output_sizes(conv.axes, sizes, conv), "grad_output")
        self._check_weight(weight, sizes)
        dtype = autocast_dtype(grad.device.type)
        grad, weight = cast(grad, dtype), cast(weight, dtype)
        self._check_dtypes(grad_output=grad, weight=weight)
        choice = self._choose(grad, sizes, is_frozen(weight))
        weight = self._plain(weight).conj()
        result = self._apply(INPUT, choice, grad, weight, sizes)
        return result if choice.takes_borders else padding.unextend(conv, result, sizes)

    def weight_grad(self, x: Tensor, grad: Tensor) -> Tensor:
        """x (batch, in, *size), grad (batch, out, *output size) to the shape of the weights; conjugates complex x."""
        conv = self.convolution
        if x.ndim == grad.ndim == self._batched - 1:
            return self.weight_grad(x.unsqueeze(0), grad.unsqueeze(0))
        self._check_input(x, conv.in_channels, None, "input")
        sizes = tuple(x.shape[-conv.ndim :])
        self._check_input(grad, conv.out_channels, shapes.output_sizes(conv.axes, sizes, conv), "grad_output")
        if x.ndim != grad.ndim or x.shape[0] != grad.shape[0]:
            got = f"an input of {tuple(x.shape)} and a grad_output of {tuple(grad.shape)}"
            raise ShapeError(f"convolution {conv}", got=got, expected="one batch")
        dtype = autocast_dtype(x.device.type)
        x, grad = cast(x, dtype), cast(grad, dtype)
        self._check_dtypes(input=x, grad_output=grad)
        choice = self._choose(x, sizes)
        x = (x if choice.takes_borders else padding.extend(conv, x)).conj()
        return layouts.plain(self._apply(WEIGHT, choice, x, grad, sizes), self.layout, conv)

    def _general(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if torch.jit.is_tracing():  # type: ignore[no-untyped-call]
            return self._traced(x, weight, bias)
        if self._is_plain(x, weight, bias):  # all that need be asked where the same request was answered before
            run = self._known.get(self._question(x, weight, bias))
            if run is not None:
                return run(x, weight, bias)
        check_tensors(input=x, weight=weight, **({} if bias is None else {"bias": bias}))
        if x.ndim == self._batched - 1:
            return self._general(x.unsqueeze(0), weight, bias).squeeze(0)
        dtype = autocast_dtype(x.device.type)
        if dtype is not None:
            x, weight = cast(x, dtype), cast(weight, dtype)
            bias = None if bias is None else cast(bias, dtype)
        if torch.compiler.is_compiling():  # which follows the preparation too, and must see no store
            return self._prepared(x, weight, bias)(x, weight, bias)
        key = self._question(x, weight, bias)
        run = self._known.get(key)
        if run is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            run = self._known[key] = self._prepared(x, weight, bias)
        return run(x, weight, bias)

    def _traced(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """torch's own function, which is all that torch.jit.trace can follow."""
        if self._torchs is None:
            fix = "Use torch.export.export, torch.compile, or torch.onnx.export with dynamo=True."
            what = f"torch.jit.trace of convolution {self.convolution}"
            raise UnsupportedError(what, got="no function of torch that computes it", fix=fix)
        function, arguments = self._torchs
        if x.ndim == self._batched - 1:
            return function(x.unsqueeze(0), weight, bias, *arguments).squeeze(0)
        return function(x, weight, bias, *arguments)

    @staticmethod
    def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
        """Whether there is nothing around the call that changes it."""
        tensors = isinstance(x, Tensor) and isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
        return tensors and x.is_cpu and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")

    @staticmethod
    def _question(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple:
        """All that the answer depends on, besides the description."""
        return (
            x.shape,
            weight.shape,
            None if bias is None else bias.shape,
            x.dtype,
            weight.dtype,
            x.device,
            x.ndim > 1 and x.stride(1) == 1,  # with the shape: whether channels are side by side
            torch.get_num_threads(),
            choose.age,
            is_frozen(weight),
        )

    def _prepared(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Callable[..., Tensor]:
        """The request checked, and what is left to do for numbers of these shapes and types."""
        self._check(x, weight, bias)
        conv, sizes = self.convolution, tuple(x.shape[2:])
        choice = self._choose(x, sizes, is_frozen(weight))
        extend = (lambda x: x) if choice.takes_borders else padding.extender(conv, sizes)
        torchs, compute = choice.output, None
        if isinstance(torchs, TorchKernels) and not self._parts and conv.bias_sharing.is_full:
            compute = torchs.bound(self._extended, self._bordered(sizes))
            if choice.differentiable and padding.only_zeros(conv) and self._plain(weight) is weight:
                return compute  # torch's function, with nothing around it

        def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            if compute is not None and (choice.differentiable or not torch.is_grad_enabled()):
                y = compute(extend(x), self._plain(weight), bias)
            else:
                y = self._apply(OUTPUT, choice, extend(x), self._plain(weight), sizes)
                y = y if bias is None else y + layouts.spread_bias(bias, conv.bias_sharing, tuple(y.shape[2:]))
            return layouts.ordered_as_torch(y, x, weight)

        return run

    def _apply(self, role: str, choice: Choice, first: Tensor, second: Tensor, sizes: Sequence[int]) -> Tensor:
        """One operation for an input of `sizes`, on what the algorithms take: the whole, or the table's parts."""
        conv, parts = self.convolution, self._parts
        if not choice.takes_borders:
            conv, sizes = self._extended, self._bordered(sizes)
        if not parts or choice.takes_tables:
            return apply(role, choice, conv, first, second, sizes)

        def compute(part: Convolution, first: Tensor, second: Tensor) -> Tensor:
            return apply(role, choice, part, first, second, sizes)

        return layouts.by_table_parts(role, compute, parts, conv, first, second)

    def _bordered(self, sizes: Sequence[int]) -> tuple[int, ...]:
        return tuple(shapes.bordered(axis, size) for axis, size in zip(self.convolution.axes, sizes, strict=True))

    def _choose(self, x: Tensor, sizes: tuple[int, ...], frozen_weight: bool = False) -> Choice:
        conv, kind, limit = self.convolution, x.device.type, self.workspace
        problem = Problem(conv, x.dtype, kind, self.precision, frozen_weight=frozen_weight, workspace=limit)
        if not torch.compiler.is_compiling():  # which may leave sizes open
            threads, last = torch.get_num_threads(), layouts.channels_last(x)
            problem = replace(problem, batch=x.shape[0], input_size=sizes, threads=threads, channels_last=last)
        return choose.choose(problem, self.algorithm)

    def _plain(self, weight: Tensor) -> Tensor:
        """The weights in the shape of the description; a table that groups say may come as a list of connections."""
        conv = self.convolution
        phases = 0 if conv.sharing.is_full else conv.ndim
        if conv.channels.rows is None and weight.ndim == phases + 1 + conv.ndim:
            weight = weight.unflatten(phases, conv.channels.weight_shape)
        return layouts.plain(weight, self.layout, conv)

    def _check(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        conv, sizes = self.convolution, tuple(x.shape[2:])
        outputs = self.check_input(x)
        self._check_weight(weight, sizes)
        expected = (*conv.bias_sharing.phases(outputs), conv.out_channels)
        if bias is not None and tuple(bias.shape) != expected:
            raise ShapeError(f"bias of convolution {conv}", got=tuple(bias.shape), expected=expected)
        self._check_dtypes(input=x, weight=weight, **({} if bias is None else {"bias": bias}))

    def _check_dtypes(self, **tensors: Tensor) -> None:
        if len({tensor.dtype for tensor in tensors.values()}) > 1:
            got = ", ".join(f"{name} {tensor.dtype}" for name, tensor in tensors.items())
            fix = "Convert one of them, as in x.to(weight.dtype)."
            raise ShapeError(f"convolution {self.convolution}", got=got, expected="one dtype", fix=fix)

    def check_input(self, x: Tensor) -> tuple[int, ...]:
        """The output size; raises the error of a call with an input that cannot be one, whatever the weights."""
        check_tensors(input=x)
        conv = self.convolution
        self._check_input(x, conv.in_channels, None, "input")
        return shapes.output_sizes(conv.axes, tuple(x.shape[-conv.ndim :]), conv)

    def _check_input(self, x: Tensor, channels: int, size: tuple[int, ...] | None, name: str) -> None:
        conv, shape = self.convolution, tuple(x.shape)
        if len(shape) not in (conv.ndim + 1, conv.ndim + 2) or shape[-conv.ndim - 1] != channels:
            wanted = ", ".join(["batch", str(channels), *(["size"] * conv.ndim if size is None else map(str, size))])
            raise ShapeError(f"{name} of convolution {conv}", got=f"shape {shape}", expected=f"({wanted})")
        if 0 in shape[-conv.ndim :]:
            raise ShapeError(f"{name} of convolution {conv}", got=f"shape {shape}", expected="at least one sample")
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
