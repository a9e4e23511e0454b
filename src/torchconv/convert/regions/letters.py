"""Which axes of a step's results are which axes of what it reads, from the access patterns that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from ...description.axis import Axis
from ...description.shapes import output_size
from ...receptive import access
from ...tracing.aten.spectral import terms_of
from ...tracing.program import Reference, Step
from .blocks import NotLocal, length_of
from .rules import Known, Letter, Letters

Lettered = tuple[Mapping[Reference, Sequence[Letter]], Sequence[Sequence[Letter]], Collection[Letter]]
Dims = list[tuple[Letter, int]]  # the letter and the length of each axis; None: of no other axis
Passed = tuple[Dims, list[int]]  # the axes that come out, and those of the input that are read all along
SUMMED, FEATURES, OTHER, KEYS = -1, -2, -3, -4  # letters of axes that no result has


def letters(step: Step, number: int, known: Known) -> Letters:
    """The rule of a step that treats all places alike; raises NotLocal where it does not."""
    own, outputs, used = letters_of(step, known)
    return Letters(step, number, known, own, outputs, frozenset(used))


def letters_of(step: Step, known: Known) -> Lettered:
    """The letters of what a step reads and of its results, and those along which every output reads all."""
    return SPECIAL.get(step.name, _by_pattern)(step, {one: _shape(known, one) for one in step.references})


def _shape(known: Known, one: Reference) -> list[int]:
    return [length_of(axis) for axis in known[one]]


def _by_pattern(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """Of a step that reads several inputs at the same places, or one in any way."""
    if all(isinstance(draft.pattern, access.Pointwise) for draft in step.drafts):
        return _pointwise(step, shapes)
    used: set[Letter] = set()
    (one, *others) = {*step.reads[0]}
    if others:
        raise NotLocal("which places it reads is not known")
    outputs = []
    for at, draft in enumerate(step.drafts):
        found = through(draft.pattern, [*enumerate(shapes[one])], used)
        if [length for _, length in found] != [*step.shapes[at]]:
            raise NotLocal("which places it reads is not known")
        outputs.append([letter for letter, _ in found])
    return {one: [*range(len(shapes[one]))]}, outputs, used


def _pointwise(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """Of tensors that are broadcast; those that are no numbers for places, such as running means, stay whole."""
    every = torch.Tag.pointwise in getattr(step.function, "tags", ()) or step.name == "_prelu_kernel"
    output = [*range(len(step.shapes[0]))]
    own = {one: _broadcast(shapes[one], step.shapes[0]) for one in (step.references if every else step.reads[0])}
    return own, [output] * len(step.drafts), {*output[-2:]} if step.name in ("triu", "tril") else set()


def _broadcast(shape: Sequence[int], result: Sequence[int], last: int | None = None) -> list[Letter]:
    """The letters of a tensor that is broadcast to a result whose axes are lettered by their numbers."""
    first = (len(result) if last is None else last) - len(shape)
    return [first + at if length == result[first + at] else None for at, length in enumerate(shape)]


def through(pattern: access.AccessPattern, dims: Dims, used: set[Letter]) -> Dims:
    """The axes that come out of one way to read; letters of axes that are read all along are added to `used`."""
    if isinstance(pattern, access.Composed):
        for way in pattern.steps:
            dims = through(way, dims, used)
        return dims
    for kind, passed in WAYS.items():
        if isinstance(pattern, kind):
            result, taken = passed(pattern, dims)
            used |= {dims[at][0] for at in taken if dims[at][0] is not None}
            return result
    raise NotLocal("every output reads all places")


def _kept(pattern: Any, dims: Dims) -> Passed:
    return dims, []


def _permuted(pattern: access.Permute, dims: Dims) -> Passed:
    return [dims[at] for at in pattern.order], []


def _reduced(pattern: access.Reduce, dims: Dims) -> Passed:
    taken = [dim % len(dims) for dim in pattern.dims]
    return [(None, 1) if at in taken else one for at, one in enumerate(dims) if pattern.keep or at not in taken], taken


def _mixed(pattern: access.Mix, dims: Dims) -> Passed:
    return dims, [dim % len(dims) for dim in pattern.dims]


def _gathered(pattern: access.Gather, dims: Dims) -> Passed:
    at = pattern.dim % len(dims)
    return [*dims[:at], (None, len(pattern.table)), *dims[at + 1 :]], [at]


def _sliced(pattern: access.Slice, dims: Dims) -> Passed:
    at = pattern.dim % len(dims)
    if pattern.axis == Axis(1):
        return dims, []
    return [*dims[:at], (None, output_size(pattern.axis, dims[at][1])), *dims[at + 1 :]], [at]


def _unfolded(pattern: access.Unfold, dims: Dims) -> Passed:
    at = pattern.dim % len(dims)
    count = output_size(pattern.axis, dims[at][1])
    return [*dims[:at], (None, count), *dims[at + 1 :], (None, pattern.axis.kernel)], [at]


def _expanded(pattern: access.Expand, dims: Dims) -> Passed:
    front: Dims = [(None, length) for length in pattern.shape[: len(pattern.shape) - len(dims)]]
    pairs = zip(dims, pattern.shape[len(front) :], strict=True)
    return front + [(letter if length == wanted else None, wanted) for (letter, length), wanted in pairs], []


def _reshaped(pattern: access.Reshape, dims: Dims) -> Passed:
    """Where only axes of length 1 come and go."""
    left = [one for one in dims if one[1] != 1]
    if [length for _, length in left] != [length for length in pattern.shape if length != 1]:
        raise NotLocal("which places it reads is not known")
    each = iter(left)
    return [(None, 1) if length == 1 else next(each) for length in pattern.shape], []


def _multiplied(pattern: access.MatrixProduct, dims: Dims) -> Passed:
    if pattern.sides != "left":
        raise NotLocal("every output reads all places")
    return [*dims[:-1], (None, pattern.shape[-1])][: len(pattern.shape)], [len(dims) - 1]


def _windowed(pattern: access.SlidingWindows, dims: Dims) -> Passed:
    """Windows of one place."""
    if any(axis != Axis(1) for axis in pattern.axes):
        raise NotLocal("which places it reads is not known")
    if pattern.channels is None:
        return dims, []
    at = len(dims) - len(pattern.axes) - 1
    return [*dims[:at], (None, pattern.channels.out_channels), *dims[at + 1 :]], [at]


WAYS: dict[type, Callable[[Any, Dims], Passed]] = {
    access.Pointwise: _kept,
    access.Permute: _permuted,
    access.Reduce: _reduced,
    access.Mix: _mixed,
    access.Gather: _gathered,
    access.Slice: _sliced,
    access.Unfold: _unfolded,
    access.Expand: _expanded,
    access.Reshape: _reshaped,
    access.MatrixProduct: _multiplied,
    access.SlidingWindows: _windowed,
}


def _joined(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """cat and stack; each tensor has its own places along the axis, all of them."""
    output: list[Letter] = [*range(len(step.shapes[0]))]
    at = int(step.arguments["dim"]) % len(output)
    rest = [*output[:at], *([] if step.name == "stack" else [None]), *output[at + 1 :]]
    own = {one: rest for one in step.references if shapes[one] != [0]}
    return own, [[*output[:at], None, *output[at + 1 :]]], set()


def _product(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """Products of matrices, or of stacks of them, or with vectors; with a sum."""
    *added, first, second = step.references[: 3 if step.name in ("addmm", "baddbmm", "addmv") else 2]
    result = step.shapes[0]
    columns, rows = len(shapes[second]) > 1, len(shapes[first]) > 1
    count = len(result) - columns - rows  # axes of the stack
    own: dict[Reference, Sequence[Letter]] = {one: _broadcast(shapes[one], result) for one in added}
    for one, letters in ((first, [count, SUMMED][not rows :]), (second, [SUMMED, len(result) - 1][: 1 + columns])):
        stack = _broadcast(shapes[one][: -len(letters)], result, count)
        if own.setdefault(one, [*stack, *letters]) != [*stack, *letters]:
            raise NotLocal("it multiplies places with each other")
    return own, [[*range(len(result))]], {SUMMED}


def _einsum(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    *terms, result = terms_of(step.arguments["equation"])
    own = {one: [*map(ord, term)] for one, term in zip(step.references, terms, strict=True)}
    if len(own) < len(terms):
        raise NotLocal("it multiplies places with each other")
    return own, [[*map(ord, result)]], {ord(one) for term in terms for one in term} - {*map(ord, result)}


def _attention(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """Every query reads all keys."""
    query, key, value = (step.arguments[name] for name in ("query", "key", "value"))
    *stack, queries, _ = range(len(step.shapes[0]))
    own: dict[Reference, Sequence[Letter]] = {query: [*stack, queries, FEATURES]}
    for one, last in ((key, FEATURES), (value, FEATURES if value == key else OTHER)):
        if own.setdefault(one, [*stack, KEYS, last]) != [*stack, KEYS, last]:
            raise NotLocal("it multiplies places with each other")
    mask = next((step.arguments[name] for name in ("attn_mask", "attn_bias") if step.arguments.get(name)), None)
    if mask is not None:
        own[mask] = [*_broadcast(shapes[mask][:-1], step.shapes[0][:-1]), KEYS]
    used = {KEYS, FEATURES, OTHER} | ({queries} if step.arguments.get("is_causal") else set())
    return own, [[*stack, queries, None]], used


def _looked_up(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    one = step.arguments["indices"]
    letters = [*range(len(shapes[one]))]
    return {one: letters}, [[*letters, None]], set()


def _channels(step: Step, shapes: Mapping[Reference, list[int]]) -> Lettered:
    """What moves channels, place by place."""
    letters = [*range(len(step.shapes[0]))]
    return {step.reads[0][0]: letters}, [letters], {1}


ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "scaled_dot_product_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_attention_math",
)
SPECIAL: dict[str, Callable[[Step, Mapping[Reference, list[int]]], Lettered]] = {
    **dict.fromkeys(("cat", "stack"), _joined),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "matmul"), _product),
    **dict.fromkeys(ATTENTION, _attention),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channels),
    "einsum": _einsum,
    "embedding": _looked_up,
}
