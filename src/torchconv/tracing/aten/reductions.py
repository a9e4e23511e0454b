"""What reads all along an axis: products of matrices, sums, normalisations, softmax, attention, transforms."""

from __future__ import annotations

from math import prod

from ...receptive import access
from .call import GLOBAL, POINTWISE, POSITIONAL, Draft, Drafts, OperatorCall, before
from .spectral import terms_of


def product(call: OperatorCall) -> Draft:
    """Products of matrices, with or without a sum."""
    tensors = [*call.tensors()]
    added = call.name in ("addmm", "baddbmm", "addmv")
    first, second = tensors[1:3] if added else tensors[:2]
    macs = call.out.numel() * first.shape[-1]
    sides = "both" if call.depends(first) and call.depends(second) else "left" if call.depends(first) else "right"
    parts = [one for one in (first, second) if call.depends(one)]
    word = "linear" if sides == "left" else "matmul"
    way: access.AccessPattern = access.MatrixProduct(call.shape, sides)
    if added and call.depends(tensors[0]):
        parts.append(tensors[0])
        way = access.Each((way, access.Pointwise())) if sides == "left" else access.Everything(call.shape)
    return Draft(word, way, tuple(parts), macs, macs, locality=POINTWISE if sides == "left" else GLOBAL)


def einsum(call: OperatorCall) -> Draft:
    """Sums of products by letters."""
    *own, result = terms_of(call["equation"])
    operands = list(zip(own, call["operands"], strict=True))
    sizes = {letter: length for letters, one in operands for letter, length in zip(letters, one.shape, strict=True)}
    parts = [(letters, one) for letters, one in operands if call.depends(one)]
    way = access.Contraction(tuple(letters for letters, _ in parts), result, call.shape)
    macs = prod(sizes.values())
    return Draft("einsum", way, tuple(one for _, one in parts), macs, macs, locality=POSITIONAL)


def linear(call: OperatorCall) -> Draft:
    """torch.nn.Linear where it is one operator."""
    macs = call.out.numel() * call.x.shape[-1]
    return Draft("linear", access.MatrixProduct(call.shape, "left"), (call.x,), macs, macs)


def reduce(call: OperatorCall) -> Draft:
    """One number of all along some axes."""
    given = call.given.get("dim")
    ndim = call.x.ndim
    dims = range(ndim) if given is None or given == [] else [given] if isinstance(given, int) else given
    dims = tuple(sorted({int(dim) % max(ndim, 1) for dim in dims}))
    local = GLOBAL if {*range(2, ndim)} <= {*dims} else POINTWISE if dims == (1,) else POSITIONAL
    way = access.Reduce(dims, bool(call.given.get("keepdim", False)))
    return Draft(call.name.strip("_"), way, (call.x,), locality=local)


def mix(call: OperatorCall) -> Draft:
    """Each unit reads all along one axis: softmax, sorting, the largest of them."""
    word = "softmax" if "softmax" in call.name else call.name.strip("_")
    way = access.Composed((access.Reduce((call.dim,), keep=True), access.Expand(call.shape)))
    return Draft(word, way, (call.x,), locality=POINTWISE if call.dim == 1 else POSITIONAL)


def running(call: OperatorCall) -> Draft:
    """Each unit reads all before it along one axis."""
    way = access.Gather(call.dim, before(call.x.shape[call.dim]))
    return Draft(call.name, way, (call.x,), locality=POSITIONAL)


def batch_norm(call: OperatorCall) -> Drafts:
    """By known statistics a scaling; by those of the tensor, as instance normalisation does, over it."""
    x = call.x
    if call.name == "batch_norm_no_update" or not call.given.get("training", not call.name.endswith("no_training")):
        return (Draft("batchnorm", inputs=(x,)),)
    way = access.Mix((0, *range(2, x.ndim)))
    return (Draft("instancenorm" if x.shape[0] == 1 else "batchnorm", way, (x,), locality=GLOBAL),)


def group_norm(call: OperatorCall) -> Drafts:
    """Over the channels of a group and all places."""
    shape, groups = tuple(call.x.shape), int(call["group"])
    split = access.Reshape((shape[0], groups, shape[1] // groups, *shape[2:]))
    way = access.Composed((split, access.Mix(tuple(range(2, len(shape) + 1))), access.Reshape(shape)))
    return (Draft("groupnorm", way, (call.x,), locality=GLOBAL),)


def layer_norm(call: OperatorCall) -> Drafts:
    """Over the last axes."""
    way = access.Mix(tuple(range(call.x.ndim - len(call["normalized_shape"]), call.x.ndim)))
    return (Draft("layernorm", way, (call.x,), locality=GLOBAL),)


def attention(call: OperatorCall) -> Drafts:
    """Queries, keys and values."""
    query, key, value = (call[name] for name in ("query", "key", "value"))
    macs = query.numel() * key.shape[-2] + call.out.numel() * key.shape[-2]
    parts = tuple(one for one in (query, key, value) if call.depends(one))
    way = access.Attention(call.shape) if call.depends(query) else access.Everything(call.shape)
    return (Draft("attention", way, parts, macs, macs, locality=POSITIONAL),)


def glu(call: OperatorCall) -> Draft:
    """Half of an axis times a function of the other half."""
    half = call.x.shape[call.dim] // 2
    return Draft("glu", access.Gather(call.dim, tuple((at, at + half) for at in range(half))), (call.x,))


def loss(call: OperatorCall) -> Draft:
    """A function of two tensors, element by element, and in most cases one number of all."""
    return Draft(call.name, access.Everything(()), locality=GLOBAL) if call["reduction"] else Draft(call.name)


def crossed(call: OperatorCall) -> Draft:
    """The cross product along one axis."""
    return Draft("cross", access.Mix((call.dim,)), locality=POSITIONAL)


def rescaled(call: OperatorCall) -> Draft:
    """Each part of an axis by its norm over all others."""
    return Draft("renorm", access.Mix(tuple(dim for dim in range(call.x.ndim) if dim != call.dim)), locality=POSITIONAL)


def recurrent(call: OperatorCall) -> Drafts:
    """A recurrent layer: each step reads all before it, in both directions all; then the states after the last step."""
    x, time = call["input"], int(call["batch_first"])
    macs = x.shape[0] * x.shape[1] * sum(one.numel() for one in call["weights"] if one.ndim == 2)
    moved = access.Reduce((time,), keep=True) if call["both"] else access.Gather(time, before(x.shape[time]))
    last = (access.Reduce((time, 2)), access.Reshape((1, x.shape[1 - time], 1)))
    states = [one for one in call["hidden"] if call.depends(one)]
    found, word = [], call["kind"].partition("_")[0]
    for number, one in enumerate(call.results):
        shape = tuple(one.shape)
        steps = last if number else (access.Reduce((2,), keep=True), moved)
        way = access.Each((access.Composed((*steps, access.Expand(shape))), *[access.Everything(shape)] * len(states)))
        found.append(Draft(word, way, (x, *states), 0 if number else macs, locality=POSITIONAL))
    return tuple(found)
