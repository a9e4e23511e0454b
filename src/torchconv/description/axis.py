"""One axis of a convolution: which input position each output position reads through each tap."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal

from ..errors import SettingError

BOUNDARIES = ("zeros", "reflect", "replicate", "circular")
PADDING_WORDS = ("valid", "same", "full")
LARGEST = 2**40  # samples: more than any memory, and small enough that products of sizes stay exact


@dataclass(frozen=True)
class Axis:
    """The geometry of one axis: output `p` reads, through tap `t`, position `p * stride + t * dilation - low`.

    Positions count on the input after `input_dilation - 1` zeros were put between its samples. Sizes in samples.

    kernel, stride, dilation, input_dilation: integers >= 1.
    padding: samples added (low, high); negative ones cut samples off; or a word: "valid", "full", "same".
    boundary: what padding holds: "zeros", "reflect", "replicate" or "circular".
    ceil: whether a last window that begins on the padded input may end behind it, as in pooling.
    span: samples from the first tap to the last, both included; it follows from kernel and dilation.

    Two axes with the same effect are equal: words become numbers where they do not depend on the input
    size, the dilation of a single tap and the boundary of no padding are forgotten.

    Raises SettingError for a value that no axis can have.
    Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 to 4.

    >>> Axis(3, padding="same") == Axis(3, padding=(1, 1))
    True
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] | Literal["same"] = (0, 0)
    boundary: str = "zeros"
    input_dilation: int = 1
    ceil: bool = False
    span: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        kernel, stride = positive("kernel_size", self.kernel), positive("stride", self.stride)
        dilation = positive("dilation", self.dilation)
        dilation = dilation if kernel > 1 else 1
        if self.boundary not in BOUNDARIES:
            raise SettingError("padding_mode", got=repr(self.boundary), expected=f"one of {', '.join(BOUNDARIES)}")
        padding = _resolved(self.padding, dilation * (kernel - 1), stride)
        for name, value in {
            "kernel": kernel,
            "stride": stride,
            "dilation": dilation,
            "padding": padding,
            "boundary": self.boundary if padding == "same" or max(padding) > 0 else "zeros",
            "input_dilation": positive("input_dilation", self.input_dilation),
            "ceil": flag("ceil_mode", self.ceil) and stride > 1 and padding != "same",
            "span": dilation * (kernel - 1) + 1,
        }.items():
            object.__setattr__(self, name, value)


def axes_of(
    kernel_size: Any,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = 0,
    padding_mode: Any = "zeros",
    input_dilation: Any = 1,
    ndim: int | None = None,
    ceil: Any = False,
) -> tuple[Axis, ...]:
    """Axes from settings that hold one value for all of them or one for each; a kernel_size of one int needs ndim.

    >>> [axis.stride for axis in axes_of((3, 3), stride=(2, 1))]
    [2, 1]
    """
    ndim = _rank(kernel_size, ndim)
    names = ("kernel_size", "stride", "dilation", "padding", "padding_mode", "input_dilation", "ceil_mode")
    values = (kernel_size, stride, dilation, padding, padding_mode, input_dilation, ceil)
    columns = [_per_axis(name, value, ndim) for name, value in zip(names, values, strict=True)]
    return tuple(Axis(*each) for each in zip(*columns, strict=True))


def positive(name: str, value: Any) -> int:
    """`value` as an integer >= 1.

    >>> positive("stride", 2)
    2
    """
    number = integer(name, value)
    if number < 1:
        raise SettingError(name, got=value, expected="an integer >= 1")
    return number


def flag(name: str, value: Any) -> bool:
    """`value` as True or False, and nothing that could only be taken for one.

    >>> flag("bias", True)
    True
    """
    value = plain(value)
    if not isinstance(value, bool):
        raise SettingError(name, got=repr(value), expected="True or False")
    return value


def plain(value: Any) -> Any:
    """Arrays and tensors as numbers and lists, tuples and their like as lists, everything else as it is.

    >>> import numpy as np
    >>> plain(np.array([[1, 2]])), plain(((1, 2), 3)), plain("same")
    ([[1, 2]], [[1, 2], 3], 'same')
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def integer(name: str, value: Any) -> int:
    """`value` as a plain int; NumPy's and torch's integers count, booleans and floats do not.

    >>> integer("padding", -1)
    -1
    """
    try:
        number = index(value)
    except TypeError:  # arrays and tensors have the method, whatever they hold
        number = None
    if number is None or isinstance(value, bool):
        raise SettingError(name, got=repr(value), expected="an integer")
    if abs(number) > LARGEST:
        raise SettingError(name, got=value, expected=f"at most {LARGEST}")
    return number


def _resolved(padding: Any, reach: int, stride: int) -> tuple[int, int] | Literal["same"]:
    """Padding as (low, high), or "same" where it depends on the input size; `reach` is span - 1."""
    if padding == "valid":
        return 0, 0
    if padding == "full":
        return reach, reach
    if padding == "same":
        return "same" if stride > 1 and reach else (reach // 2, reach - reach // 2)
    if isinstance(padding, str):
        raise SettingError("padding", got=repr(padding), expected=f"integers or one of {', '.join(PADDING_WORDS)}")
    pair = padding if isinstance(padding, tuple | list) else (padding, padding)
    if len(pair) != 2:
        raise SettingError("padding of an axis", got=padding, expected="an integer, or a pair (low, high)")
    return integer("padding", pair[0]), integer("padding", pair[1])


def _rank(kernel_size: Any, ndim: int | None) -> int:
    sizes = plain(kernel_size)
    if ndim is not None:
        ndim = positive("ndim", ndim)
    if isinstance(sizes, list):
        if not sizes or (ndim is not None and ndim != len(sizes)):
            raise SettingError("kernel_size", got=sizes, expected=f"one size for each of {ndim or 'its'} axes")
        return len(sizes)
    if ndim is None:
        expected, fix = "a tuple, which gives the rank", "Or give ndim=1, 2 or 3."
        raise SettingError("kernel_size", got=kernel_size, expected=expected, fix=fix)
    return ndim


def _per_axis(name: str, value: Any, ndim: int) -> list[Any]:
    """One value for each axis, from one for all; a pair (low, high) for all axes is written ((low, high),)."""
    values = plain(value)
    if not isinstance(values, list):
        return [values] * ndim
    if len(values) == 1:
        values = values * ndim  # as torch does
    if len(values) != ndim:
        pair = name == "padding" and len(values) == 2
        fix = f"A pair (low, high) is written {name}=(({values[0]}, {values[1]}),)." if pair else ""
        raise SettingError(name, got=repr(value), expected=f"one value, or one for each of {ndim} axes", fix=fix)
    return values
