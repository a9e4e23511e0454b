"""Whatever is to be looked at, as a network: texts, names in the zoo, torch modules, exported programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..convert.run_model import evaluating
from ..errors import SettingError, ShapeError, TorchconvError
from ..language.architecture import Architecture
from ..language.build import NetworkModule
from ..language.parser import parse
from ..network import operations, pooling
from ..network import operations as ops
from ..network.graph import Network, Node, Row
from ..network.operations import Input, Operation, Volume
from ..network.propagation import shape_of
from ..network.reading import reading
from ..network.recorded import Recorded
from ..tracing.module_calls import Failed
from ..tracing.trace import watch

SIZES = (224, 32, 64, 128, 256, 28, 227, 299, 96, 48, 512, 331, 384, 192, 112, 572, 16, 8)
TRIED = 40  # shapes, where none was given or the one given does not fit


@dataclass(frozen=True)
class ModelNetwork:
    """A model as a network of recorded operations. outputs: nodes that come out. used: the parameters of each node."""

    name: str
    network: Network
    outputs: tuple[str, ...]
    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def network_of(model: Any, input_shape: Any = None) -> ModelNetwork:
    """The network of a model.

    model: a torch module, an exported program, a network, an architecture, a text or a name in the zoo.
    input_shape: (channels, *size) or (batch, channels, *size), a tensor, or a tuple or a dict of these. Left out, a
        shape that fits is looked for.
    Raises ShapeError naming the layer that a shape does not fit, and one that would.
    """
    if isinstance(model, torch.export.ExportedProgram):
        shape = input_shape if input_shape is not None else model.example_inputs and model.example_inputs[0]
        return _of_module(model.module(), shape, "exported program")
    if isinstance(model, NetworkModule):
        return _of_network(model.network, input_shape)
    if isinstance(model, torch.nn.Module):
        return _of_module(model, input_shape, type(model).__name__)
    name = "network"
    if isinstance(model, str):
        name, model = model.strip(), parse(model)
    if isinstance(model, Architecture):
        channels, *size = input_shape if input_shape is not None else (3, 32, 32)
        model = model.network(Volume(channels, tuple(size)), 10)
    if not isinstance(model, Network):
        expected = "a torch module, an exported program, an architecture's text or a name in the zoo"
        raise SettingError("a model", got=type(model).__name__, expected=expected)
    return replace(_of_network(model, None), name=name if len(name) < 80 else f"{name[:77]}...")


def on_larger_input(model: Any, found: ModelNetwork) -> ModelNetwork | None:
    """The same torch module on a larger image, by an odd number of samples; None where it runs on one size only."""
    if not isinstance(model, torch.nn.Module) or isinstance(model, NetworkModule):
        return None
    batch, channels, *size = shape_of(found.network.input)
    try:
        return _traced(model, (_image(model, (batch, channels, *(length + 37 for length in size))),), found.name)
    except Failed:
        return None


def _of_network(network: Network, input_shape: Any) -> ModelNetwork:
    given = tuple(input_shape)[-len(network.input.size) - 1 :] if isinstance(input_shape, tuple | list) else None
    own = (network.input.channels, *network.input.size)
    if given is not None and given != own:
        raise ShapeError("an input of this network", got=given, expected=f"{own}, which its INPUT says")
    return ModelNetwork("network", described(network), (network.nodes[-1].name,))


def _of_module(model: torch.nn.Module, input_shape: Any, name: str) -> ModelNetwork:
    if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        model = model.module
    if isinstance(model, torch.jit.ScriptModule):
        fix = "Inspect the module that it was made of, or export it."
        raise SettingError(f"inspecting {name}", got="a scripted module, whose calls cannot be seen", fix=fix)
    waiting = [one for one in model.parameters() if isinstance(one, torch.nn.parameter.UninitializedParameter)]
    if waiting:
        raise SettingError(
            f"inspecting {name}",
            got=f"{len(waiting)} parameters without a shape yet",
            expected="a module that knows its sizes",
            fix="Call it once on an example.",
        )
    if input_shape is None:
        return _first_that_fits(model, name)
    problem: Failed | None = None
    for inputs in _readings_of(model, input_shape):
        try:
            return _traced(model, inputs, name)
        except Failed as failed:
            problem = problem or failed
    assert problem is not None
    raise _explained(model, input_shape, name, problem)


def _traced(model: torch.nn.Module, inputs: Any, name: str) -> ModelNetwork:
    found = watch(model, inputs)
    sizes = {key: one.numel() for key, one in model.named_parameters()}
    unused = {key: sizes[key] for key in found.unused}
    return ModelNetwork(name, found.network, found.outputs, found.used, unused, found.notes)


def _readings_of(model: torch.nn.Module, given: Any) -> Iterator[Any]:
    """The arguments that a given shape can mean: without a batch first, where its rank does not say otherwise."""
    if isinstance(given, Tensor):
        yield (given,)
    elif isinstance(given, dict):
        yield {name: _tensor(model, one) for name, one in given.items()}
    elif isinstance(given, list | tuple) and given and all(isinstance(one, int) for one in given):
        _check(given)
        shapes = [(1, *given), tuple(given)]
        if _rank(model) == len(given) - 2:
            shapes.reverse()
        yield from ((_image(model, shape),) for shape in shapes)
    elif isinstance(given, list | tuple) and given:
        yield tuple(_tensor(model, one) for one in given)
    else:
        expected = "(channels, *size), as in (3, 224, 224), a tensor, or several of them"
        raise SettingError("input_shape", got=repr(given), expected=expected)


def _tensor(model: torch.nn.Module, one: Any) -> Any:
    if isinstance(one, list | tuple) and all(isinstance(length, int) for length in one):
        _check(one)
        return _image(model, tuple(one))
    return one


def _image(model: torch.nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Without numbers, of the type of the model's parameters."""
    kinds = (one.dtype for one in model.parameters() if one.is_floating_point())
    return torch.empty(shape, device="meta", dtype=next(kinds, torch.float32))


def _check(shape: Any) -> None:
    if any(isinstance(length, bool) or length < 1 for length in shape):
        raise SettingError("input_shape", got=tuple(shape), expected="integers >= 1")


def _rank(model: torch.nn.Module) -> int | None:
    """The number of axes that the first layer which says so slides over."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if hasattr(module, "kernel_size") and isinstance(weight, Tensor):
            return len(module.kernel_size) if isinstance(module.kernel_size, tuple) else weight.ndim - 2
    return None


def _candidates(model: torch.nn.Module) -> Iterator[tuple[int, ...]]:
    first: Any = next((one for one in model.modules() if hasattr(one, "in_channels")), None)
    rank = _rank(model)
    if first is None or rank is None:
        linear: Any = next((one for one in model.modules() if hasattr(one, "in_features")), None)
        if linear is not None:
            yield (1, linear.in_features)
        rank = rank or 2
    count = first.in_channels if first is not None else 3
    for size in SIZES if rank > 1 else (16000, 1024, 4096, *SIZES):
        yield (1, count, *(size,) * rank)


def _first_that_fits(model: torch.nn.Module, name: str) -> ModelNetwork:
    problem: Failed | None = None
    for shape in _candidates(model):
        try:
            return _traced(model, (_image(model, shape),), name)
        except Failed as failed:
            problem = problem or failed
    raise ShapeError(
        f"inspecting {name}", got="no input shape, and none that was tried fits", fix="Give the input shape."
    )


def _explained(model: torch.nn.Module, given: Any, name: str, problem: Failed) -> TorchconvError:
    fix = ""
    if isinstance(given, list | tuple) and all(isinstance(one, int) for one in given):
        for shape, _ in zip(_candidates(model), range(TRIED), strict=False):
            try:
                watch(model, (_image(model, shape),))
                fix = f"An input of {'x'.join(map(str, shape[1:]))} works."
                break
            except Failed:
                continue
    where = f"layer {problem.layer} ({problem.kind})" if problem.layer else problem.kind or "the model"
    shown = tuple(given) if isinstance(given, list | tuple) else "the given inputs"
    return ShapeError(f"{name} on an input of {shown}, in {where}", got=problem.got, expected=problem.expected, fix=fix)


def described(network: Network) -> Network:
    """Each operation as one that was recorded."""
    volumes = {row.node.name: row.volume for row in network.rows}
    rows = (row for row in network.rows)
    return Network(tuple(_recorded(row, volumes) for row in rows))


def _recorded(row: Row, volumes: dict) -> Node:
    node, operation = row.node, row.node.operation
    if isinstance(operation, Input | Recorded):
        return node
    read = [volumes[name] for name in node.inputs]
    convolution = operation.convolution if isinstance(operation, ops.Convolve) else None
    customary = convolution.macs_ignoring_borders(read[0].size) if convolution else row.macs
    found = Recorded(
        _word(operation),
        reading(operation, read),
        row.volume,
        inputs=len(node.inputs),
        weights=row.parameters,
        exact=row.macs,
        customary=customary,
        convolution=convolution,
        axes=convolution.axes if convolution else operation.pooling.axes if isinstance(operation, pooling.Pool) else (),
        module=node.name,
        bytes=4 * row.volume.numel,
        equivariant=_moves(operation),
    )
    return Node(node.name, found, node.inputs)


def _word(operation: Operation) -> str:
    kind = f"{operation.kind}norm" if isinstance(operation, operations.Norm) else operation.word
    return getattr(operation, "title", kind)


def _moves(operation: Operation) -> str:
    if isinstance(operation, ops.Convolve):
        return "no" if operation.convolution.sharing.needs_size else "yes"
    cropped = isinstance(operation, operations.Merge) and operation.crop
    return getattr(operation, "moves", "no" if cropped or isinstance(operation, ops.FullyConnected) else "yes")


@contextmanager
def running(model: Any) -> Iterator[None]:
    """A module in evaluation mode, and as it was afterwards; of a function nothing is known."""
    if isinstance(model, nn.Module):
        with evaluating(model):
            yield
    else:
        yield


def output(model: Any, x: Tensor) -> Any:
    """What a model makes of x.

    Raises ShapeError naming the layer of a module that the shape does not fit, and a shape that would.
    """
    try:
        return model(x)
    except RuntimeError:
        if isinstance(model, nn.Module):
            network_of(model, tuple(x.shape))  # says it better, unless it is about something else than shapes
        raise
