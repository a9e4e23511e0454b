"""torch's own kernels, for everything that is one kernel everywhere: oneDNN, MKL and cuDNN behind one function.

torch pads both sides alike and transposes all axes or none. What it cannot say is put around it: zeros before, zeros
or cuts after, zeros between the samples. All of that is linear, so the adjoints go through the same steps backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import layouts, padding as borders, torch_bugs
from ..planning import cost_model, machine
from ..problem import Problem
from ..tensors import OUTPUT, has_numbers
from .base import Algorithm

_PLAIN = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TorchCall:
    """A convolution in torch's words, with what comes before and after: spread, pad, convolve, trim."""

    spread: tuple[int, ...]
    before: Pairs
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    after: Pairs
    open: bool = False  # how much comes before is a symbol

    @property
    def is_bare(self) -> bool:
        """Whether nothing comes before or after."""
        return (
            not self.open and max(self.spread) == 1 and not any(low or high for low, high in self.before + self.after)
        )

    def bound(self) -> tuple[Callable[..., Tensor], tuple]:
        """torch's function, and what it takes after input, kernel and bias."""
        ndim = len(self.stride)
        if self.transposed:
            return _TRANSPOSED[ndim], (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return _PLAIN[ndim], (self.stride, self.padding, self.dilation, self.groups)

    def backward(self, grad: Tensor, x: Tensor, kernel: Tensor, towards: int) -> Tensor:
        """The gradient of the input (towards 0) or of the kernel (towards 1)."""
        arguments = (self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups)
        mask = [towards == 0, towards == 1, False]
        return torch.ops.aten.convolution_backward(grad, x, kernel, None, *arguments, mask)[towards]


def call_for(conv: Convolution, input_size: Sequence[int], transposed: bool = False) -> TorchCall:
    """How to say `conv` to torch for an input of this size; transposed: also where a plain one would do."""
    pads = [shapes.padding(axis, size) for axis, size in zip(conv.axes, input_size, strict=True)]
    if max(conv.stride) == 1 and (transposed or max(conv.input_dilation) > 1):
        return _transposed(conv, pads)
    if borders.follows_size(conv.axes):
        none = (0,) * conv.ndim
        before = conv.input_dilation, tuple(pads)
        return TorchCall(*before, conv.stride, none, conv.dilation, False, none, conv.groups, (), open=True)
    return _plain(conv, pads)


def static_call(conv: Convolution, transposed: bool) -> TorchCall | None:
    """torch's call with nothing around it, if that is all there is to `conv` at every input size."""
    plain = conv.sharing.is_full and conv.ndim in _PLAIN and conv.channels.rows is None and not torch_bugs.types(conv)
    if not plain or any(axis.boundary != "zeros" or axis.padding == "same" for axis in conv.axes):
        return None
    call = call_for(conv, (1,) * conv.ndim, transposed)
    return call if call.is_bare and call.transposed == transposed else None


def _plain(conv: Convolution, pads: Sequence[tuple[int, int]]) -> TorchCall:
    both = tuple(max(min(pair), 0) for pair in pads)
    rest = tuple((low - side, high - side) for (low, high), side in zip(pads, both, strict=True))
    none = (0,) * conv.ndim
    return TorchCall(conv.input_dilation, rest, conv.stride, both, conv.dilation, False, none, conv.groups, ())


def _transposed(conv: Convolution, pads: Sequence[tuple[int, int]]) -> TorchCall:
    """Each input sample stamps the kernel onto the output; what torch cannot cut off or add, `after` does."""
    cuts, extras, after = [], [], []
    for axis, (low, high) in zip(conv.axes, pads, strict=True):
        first, last = axis.span - 1 - low, axis.span - 1 - high  # to cut off the sum of all stamps; negative: to add
        extra = max(first, 0) - last
        if not 0 <= extra < max(axis.input_dilation, axis.dilation):  # what torch's output_padding can say
            extra = 0
        cut = max(first if extra else min(first, last), 0)
        cuts.append(cut)
        extras.append(extra)
        after.append((cut - first, cut - extra - last))
    ones, steps = (1,) * conv.ndim, conv.input_dilation
    return TorchCall(ones, (), steps, tuple(cuts), conv.dilation, True, tuple(extras), conv.groups, tuple(after))


class TorchKernels(Algorithm):
    """torch's convolutions and their backward, in the memory layout the input has."""

    name: ClassVar[str] = "torch"
    error: ClassVar[float] = 2.0
    differentiable: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        if not problem.convolution.sharing.is_full:
            return "torch has one kernel for all positions"
        if problem.convolution.ndim > 3:
            return "torch slides over 1 to 3 axes"
        return None

    def seconds(self, problem: Problem, role: str) -> float:
        return self._seconds(problem, role, problem.channels_last)

    def _seconds(self, problem: Problem, role: str, channels_last: bool) -> float:
        rate = cost_model.torch_rate(problem.convolution, problem.dtype, role, channels_last)
        return problem.macs / rate / cost_model.cores(problem.threads) + machine.CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """oneDNN's own order of both arrays, and what is put around them."""
        return self._copies(problem, 0 if problem.channels_last else 1)

    @staticmethod
    def _copies(problem: Problem, orders: int) -> int:
        conv, sizes = problem.convolution, problem.sizes
        call = call_for(conv, sizes)
        inner = 0 if call.is_bare else conv.in_channels * prod(_inner_size(conv, call, sizes))
        return (orders * problem.numbers + problem.batch * inner) * problem.dtype.itemsize

    def output(self, conv: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.bound(conv, x.shape[2:])(x, weight, bias)

    def bound(self, conv: Convolution, input_size: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """`output` for one input size, with all that depends on nothing else decided."""
        call = call_for(conv, input_size)
        function, arguments = call.bound()
        bare = call.is_bare
        grows = any(low > 0 or high > 0 for low, high in call.after)
        wrong = torch_bugs.types(conv)
        if bare and not call.transposed and not wrong:
            return lambda x, weight, bias: function(x, weight, bias, *arguments)

        def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            if wrong and x.dtype in wrong and x.device.type == "cpu":
                return compute(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)
            if not bare:
                x = borders.pad(borders.spread(x, call.spread), call.before, call.open)
            y = function(x, self._kernel(call, weight), None if grows else bias, *arguments)
            if bare:
                return y
            y = borders.pad(y, call.after)
            return y + bias.reshape(-1, *(1,) * conv.ndim) if grows and bias is not None else y

        return compute

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        if grad.is_complex() or weight.is_complex():
            return _by_parts(lambda g, w: self.input_grad(conv, g, w, input_size), grad, weight)
        if grad.dtype in torch_bugs.types(conv) and grad.device.type == "cpu":
            return self.input_grad(conv, grad.float(), weight.float(), input_size).to(grad.dtype)
        call = call_for(conv, input_size)
        grad = borders.unpad(self._laid_out(grad), call.after)
        shape = [grad.shape[0], conv.in_channels, *_inner_size(conv, call, input_size)]
        x = grad.new_empty(1).expand(shape)  # only its shape is read
        result = call.backward(grad, x, self._kernel(call, weight), towards=0)
        return borders.unspread(borders.unpad(result, call.before, call.open), call.spread)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        if x.is_complex() or grad.is_complex():
            return _by_parts(lambda a, g: self.weight_grad(conv, a, g), x, grad)
        if x.dtype in torch_bugs.types(conv) and x.device.type == "cpu":
            return self.weight_grad(conv, x.float(), grad.float()).to(x.dtype)
        call = call_for(conv, x.shape[2:])
        x = borders.pad(borders.spread(self._laid_out(x), call.spread), call.before, call.open)
        grad = borders.unpad(self._laid_out(grad), call.after)
        kernel = self._kernel(call, x.new_empty(1).expand(conv.weight_shape()))  # only its shape is read
        return self._kernel(call, call.backward(grad, x, kernel, towards=1))

    def _kernel(self, call: TorchCall, weight: Tensor) -> Tensor:
        """The weights as torch wants them, and back; its transposed convolution flips the kernel by itself."""
        ndim = len(call.stride)
        return layouts.flipped(layouts.swapped(weight, call.groups, ndim), ndim) if call.transposed else weight

    def _laid_out(self, x: Tensor) -> Tensor:
        return x


def _inner_size(conv: Convolution, call: TorchCall, input_size: Sequence[int]) -> list[int]:
    """The size of what torch is given, after zeros were put between and around the samples."""
    if call.transposed:
        return list(input_size)
    sizes = zip(conv.axes, input_size, call.before, strict=True)
    return [shapes.dilated(axis, size) + low + high for axis, size, (low, high) in sizes]


def _by_parts(operation: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A bilinear operation of complex numbers, by four of real ones; torch's backward kernels are real."""
    a_real, a_imag = (a.real, a.imag) if a.is_complex() else (a, torch.zeros_like(a))
    b_real, b_imag = (b.real, b.imag) if b.is_complex() else (b, torch.zeros_like(b))
    real = operation(a_real, b_real) - operation(a_imag, b_imag)
    return torch.complex(real, operation(a_real, b_imag) + operation(a_imag, b_real))


class TorchChannelsLast(TorchKernels):
    """The same kernels with the channels of one position side by side in memory."""

    name: ClassVar[str] = "torch-channels-last"

    def declines(self, problem: Problem) -> str | None:
        if problem.convolution.ndim not in layouts.CHANNELS_LAST:
            return "torch has a channels-last layout for 2 and 3 axes"
        return super().declines(problem)

    def seconds(self, problem: Problem, role: str) -> float:
        best = self._seconds(problem, role, True)
        reordered = 0 if problem.channels_last else problem.numbers / machine.GATHER
        return best + reordered / cost_model.cores(problem.threads)

    def workspace(self, problem: Problem, role: str) -> int:
        """Both arrays in the other order, one of them twice in the gradients."""
        return self._copies(problem, 0 if problem.channels_last else 1 if role == OUTPUT else 2)

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return convolution.ndim == 2 and max(convolution.kernel_size) >= machine.LARGE_KERNEL

    def bound(self, conv: Convolution, input_size: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        compute = super().bound(conv, input_size)
        return lambda x, weight, bias: layouts.ordered_as(compute(self._laid_out(x), weight, bias), x)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return layouts.ordered_as(super().input_grad(conv, grad, weight, input_size), grad)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return layouts.ordered_as(super().weight_grad(conv, x, grad), x)

    def _laid_out(self, x: Tensor) -> Tensor:
        in_memory = has_numbers(x) or torch.compiler.is_compiling()  # inside vmap torch knows no such layouts
        return x.contiguous(memory_format=layouts.CHANNELS_LAST[x.ndim - 2]) if in_memory else x


KERNELS = TorchKernels()


class TorchBfloat16(Algorithm):
    """Operands rounded to 8 bits, half as many bytes and products twice as fast; about 0.004 of relative error."""

    name: ClassVar[str] = "torch-bf16"
    error: ClassVar[float] = 5e4
    differentiable: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        if problem.precision != "bf16":
            return 'only precision="bf16" allows it'
        if problem.dtype != torch.float32:
            return "it is for numbers in float32"
        return KERNELS.declines(problem)

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return precision == "bf16"

    def seconds(self, problem: Problem, role: str) -> float:
        rounding = problem.numbers / machine.TOUCH / cost_model.cores(problem.threads)
        return KERNELS.seconds(replace(problem, dtype=torch.bfloat16), role) + rounding

    def workspace(self, problem: Problem, role: str) -> int:
        """Half as many bytes as the arrays and what torch copies of them."""
        weights = prod(problem.convolution.weight_shape(problem.sizes))
        return (KERNELS.workspace(problem, role) + (problem.numbers + weights) * problem.dtype.itemsize) // 2

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        return KERNELS.output(conv, x.bfloat16(), weight.bfloat16()).float()

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return KERNELS.input_grad(conv, grad.bfloat16(), weight.bfloat16(), input_size).float()

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return KERNELS.weight_grad(conv, x.bfloat16(), grad.bfloat16()).float()
