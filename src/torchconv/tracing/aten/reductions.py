"""What reads all along an axis: products of matrices, sums, normalisations, softmax, attention, transforms."""

from __future__ import annotations

from math import prod

from torch import Tensor

from ...receptive import access
from .call import GLOBAL, POINTWISE, POSITIONAL, Draft, Drafts, OperatorCall
from .spectral import terms_of


def product(call: OperatorCall) -> Draft:
    """Products of matrices, with or without a sum."""
    tensors = [value for name, value in call.given.items() if isinstance(value, Tensor)]
    added = "addmm" in call.name or call.name in ("baddbmm", "addmv", "addbmm", "addr")
    first, second = tensors[1:3] if added else tensors[:2]
    macs = call.out.numel() * first.shape[-1]
    sides = "both" if call.depends(first) and call.depends(second) else "left" if call.depends(first) else "right"
    parts = [one for one in (first, second) if call.depends(one)]
    word = "linear" if sides == "left" else "matmul"
    way: access.AccessPattern = access.MatrixProduct(tuple(call.out.shape), sides)
    if added and call.depends(tensors[0]):
        parts.append(tensors[0])
        ways = (access.MatrixProduct(tuple(call.out.shape), "left"),) if sides == "left" else ()
        way = access.Each((*ways, access.Pointwise())) if ways else access.Everything(tuple(call.out.shape))
    local = POINTWISE if sides == "left" else GLOBAL
    return Draft(word, way, tuple(parts), macs, macs, locality=local)


def einsum(call: OperatorCall) -> Draft:
    """Sums of products by letters."""
    *own, result = terms_of(call["equation"])
    operands = list(zip(own, call["operands"], strict=True))
    sizes = {letter: length for letters, one in operands for letter, length in zip(letters, one.shape, strict=True)}
    parts = [(letters, one) for letters, one in operands if call.depends(one)]
    way = access.Contraction(tuple(letters for letters, _ in parts), result, tuple(call.out.shape))
    macs = prod(sizes.values())
    return Draft("einsum", way, tuple(one for _, one in parts), macs, macs, locality=POSITIONAL)


def linear(call: OperatorCall) -> Draft:
    """torch.nn.Linear where it is one operator."""
    macs = call.out.numel() * call.x.shape[-1]
    return Draft("linear", access.MatrixProduct(tuple(call.out.shape), "left"), (call.x,), macs, macs)


def reduce(call: OperatorCall) -> Draft:
    """One number of all along some axes."""
    given = call.given.get("dim")
    ndim = call.x.ndim
    dims = range(ndim) if given is None or given == [] else [given] if isinstance(given, int) else given
    dims = tuple(sorted({int(dim) % max(ndim, 1) for dim in dims}))
    word = {"mean": "mean", "sum": "sum"}.get(call.name, call.name.strip("_"))
    local = POINTWISE if set(dims) == {1} else POSITIONAL
    local = GLOBAL if set(range(2, ndim)) <= set(dims) else local
    way = access.Reduce(dims, bool(call.given.get("keepdim", False)))
    return Draft(word, way, (call.x,), locality=local)


def mix(call: OperatorCall) -> Draft:
    """Each unit reads all along one axis: softmax, sorting, the largest of them."""
    dim = int(call["dim"]) % max(call.x.ndim, 1)
    word = "softmax" if "softmax" in call.name else call.name.strip("_")
    local = POINTWISE if dim == 1 else POSITIONAL
    way = access.Composed((access.Reduce((dim,), keep=True), access.Expand(tuple(call.out.shape))))
    return Draft(word, way, (call.x,), locality=local)


def running(call: OperatorCall) -> Draft:
    """Each unit reads all before it along one axis."""
    dim = int(call["dim"]) % max(call.x.ndim, 1)
    length = call.x.shape[dim]
    table = tuple(tuple(at if at <= unit else -1 for at in range(length)) for unit in range(length))
    return Draft(call.name, access.Gather(dim, table), (call.x,), locality=POSITIONAL)


def batch_norm(call: OperatorCall) -> Drafts:
    """By known statistics a scaling; by those of the tensor, as instance normalisation does, over it."""
    training = bool(call.given.get("training", call.name != "_native_batch_norm_legit_no_training"))
    if call.name in ("_native_batch_norm_legit_no_training", "batch_norm_no_update"):
        training = False
    x = call.x
    if not training:
        return (Draft("batchnorm", inputs=(x,)),)
    dims = (0, *range(2, x.ndim))
    return (Draft("instancenorm" if x.shape[0] == 1 else "batchnorm", access.Mix(dims), (x,), locality=GLOBAL),)


def group_norm(call: OperatorCall) -> Drafts:
    """Over the channels of a group and all places."""
    x, groups = call.x, int(call["group"])
    shape = tuple(x.shape)
    dims = tuple(range(2, x.ndim + 1))
    split = access.Reshape((shape[0], groups, shape[1] // groups, *shape[2:]))
    way = access.Composed((split, access.Mix(dims), access.Reshape(shape)))
    return (Draft("groupnorm", way, (x,), locality=GLOBAL),)


def layer_norm(call: OperatorCall) -> Drafts:
    """Over the last axes."""
    count = len(call["normalized_shape"])
    x = call.x
    way = access.Mix(tuple(range(x.ndim - count, x.ndim)))
    return (Draft("layernorm", way, (x,), locality=GLOBAL),)


def attention(call: OperatorCall) -> Drafts:
    """Queries, keys and values."""
    query, key, value = (call[name] for name in ("query", "key", "value"))
    macs = query.numel() * key.shape[-2] + call.out.numel() * key.shape[-2]
    parts = [query, *(one for one in (key, value) if call.depends(one))]
    if not call.depends(query):
        whole = access.Everything(tuple(call.out.shape))
        return (Draft("attention", whole, None, macs, macs, locality=POSITIONAL),)
    return (Draft("attention", access.Attention(tuple(call.out.shape)), tuple(parts), macs, macs, locality=POSITIONAL),)


def glu(call: OperatorCall) -> Draft:
    """Half of an axis times a function of the other half."""
    dim = int(call["dim"]) % call.x.ndim
    half = call.x.shape[dim] // 2
    table = tuple((at, at + half) for at in range(half))
    return Draft("glu", access.Gather(dim, table), (call.x,))


def loss(call: OperatorCall) -> Draft:
    """A function of two tensors, element by element, and in most cases one number of all."""
    if not call["reduction"]:
        return Draft(call.name)
    return Draft(call.name, access.Everything(()), locality=GLOBAL)


def crossed(call: OperatorCall) -> Draft:
    """The cross product along one axis."""
    return Draft("cross", access.Mix((int(call["dim"]) % call.x.ndim,)), locality=POSITIONAL)


def rescaled(call: OperatorCall) -> Draft:
    """Each part of an axis by its norm over all others."""
    dims = tuple(dim for dim in range(call.x.ndim) if dim != int(call["dim"]) % call.x.ndim)
    return Draft("renorm", access.Mix(dims), locality=POSITIONAL)


def recurrent(call: OperatorCall) -> Drafts:
    """A recurrent layer: each step reads all before it, in both directions all; then the states after the last step."""
    x, time = call["input"], int(call["batch_first"])
    length = x.shape[time]
    macs = x.shape[0] * x.shape[1] * sum(one.numel() for one in call["weights"] if one.ndim == 2)
    before = tuple(tuple(at if at <= step else -1 for at in range(length)) for step in range(length))
    moved = access.Reduce((time,), keep=True) if call["both"] else access.Gather(time, before)
    last = (access.Reduce((time, 2)), access.Reshape((1, x.shape[1 - time], 1)))
    states = [one for one in call["hidden"] if call.depends(one)]
    found = []
    for number, one in enumerate(call.results):
        shape = tuple(one.shape)
        steps = last if number else (access.Reduce((2,), keep=True), moved)
        way = access.Each((access.Composed((*steps, access.Expand(shape))), *[access.Everything(shape)] * len(states)))
        found.append(
            Draft(call["kind"].partition("_")[0], way, (x, *states), 0 if number else macs, locality=POSITIONAL)
        )
    return tuple(found)
