"""Any model as a network: a torch module, a text, a name in the zoo, an exported program; and on which input."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..convert.run_model import evaluating
from ..errors import SettingError, ShapeError, TorchconvError
from ..language.architecture import Architecture
from ..language.network_module import DEFAULT_CLASSES, DEFAULT_INPUT, NetworkModule, build
from ..language.parser import parse
from ..network.graph import Network
from ..network.operations import Volume
from ..network.propagation import shape_of
from ..tracing.model_copy import ModelFailed
from ..tracing.trace import trace

SIZES = (224, 32, 64, 128, 256, 28, 227, 299, 96, 48, 512, 331, 384, 192, 112, 572, 16, 8)
LENGTHS = (256, 1024, 4096, 64, 16000, *SIZES)  # of one axis: frames; samples of sound come first for one channel
TRIED = 40  # shapes, where none was given or the one given does not fit
PATIENCE = 10.0  # seconds for all of them
LONGEST = 200  # characters of what a model says


@dataclass(frozen=True)
class ModelNetwork:
    """A model as a network. outputs: nodes that come out. unused: sizes of parameters that nothing reads."""

    name: str
    network: Network
    outputs: tuple[str, ...]
    unused: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def network_of(model: Any, input_shape: Any = None, classes: int | None = None) -> ModelNetwork:
    """The network of a model.

    model: a torch module, an exported program, a network, an architecture, a text or a name in the zoo.
    input_shape: (channels, *size) or (batch, channels, *size), a tensor, or a tuple or a dict of these. Left out, it is
        what a text says, or a shape that fits is looked for.
    classes: outputs of the last layer of a text, whatever it says.
    Raises ShapeError naming the layer that a shape does not fit, and one that would; SettingError for classes of a
    model that is no text.
    """
    if classes is not None and not isinstance(model, str | Architecture):
        expected = "a text or a name in the zoo with it"
        raise SettingError("classes", got=classes, expected=expected, fix="A model has the outputs that it has.")
    if isinstance(model, torch.export.ExportedProgram):
        shape = input_shape if input_shape is not None else model.example_inputs and model.example_inputs[0]
        return _of_module(model.module(), shape, "exported program")
    if isinstance(model, nn.Module) and not isinstance(model, NetworkModule):
        return _of_module(model, input_shape, type(model).__name__)
    name = model.strip() if isinstance(model, str) else "network"
    network = (
        _resized(model, input_shape) if isinstance(model, NetworkModule) else _of_text(model, input_shape, classes)
    )
    name = name if len(name) < 80 else f"{name[:77]}..."
    return ModelNetwork(name, network, (network.nodes[-1].name,))


def module_of(model: Any, input_shape: Sequence[int]) -> Any:
    """What computes a model: texts, names in the zoo and networks are built, with the same fresh weights every time."""
    if isinstance(model, torch.export.ExportedProgram):
        program = model.module()  # whose mode cannot be set

        def exported_program(x: Tensor) -> Any:
            return program(x)

        return exported_program
    if not isinstance(model, str | Architecture | Network):
        return model
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return build(model, tuple(input_shape))


def on_larger_input(model: Any, found: ModelNetwork) -> ModelNetwork | None:
    """The same torch module on a larger image, by an odd number of samples; None where it runs on one size only."""
    if not isinstance(model, nn.Module) or isinstance(model, NetworkModule):
        return None
    batch, channels, *size = shape_of(found.network.input)
    try:
        return _traced(model, (_image(model, (batch, channels, *(length + 37 for length in size))),), found.name)
    except ModelFailed:
        return None


def _of_text(model: Any, input_shape: Any, classes: int | None = None) -> Network:
    """The network of a text, an architecture or a network; what the caller says of its input wins."""
    model = parse(model) if isinstance(model, str) else model
    if isinstance(model, Architecture):
        said = model.input
        volume = _volume(input_shape, said and len(said.size)) or said or Volume(*DEFAULT_INPUT)
        return model.network(volume, classes, default_classes=DEFAULT_CLASSES)
    if isinstance(model, Network):
        volume = _volume(input_shape, len(model.input.size))
        return model.on(volume) if volume else model
    expected = "a torch module, an exported program, an architecture's text or a name in the zoo"
    raise SettingError("a model", got=type(model).__name__, expected=expected)


def _resized(model: NetworkModule, input_shape: Any) -> Network:
    """The network of a built module on another input; raises ShapeError where its weights are for one size only."""
    network = model.network
    volume = _volume(input_shape, len(network.input.size))
    return network if volume is None else network.with_weights_on(volume)


def _volume(given: Any, ndim: int | None) -> Volume | None:
    """One image's volume from (channels, *size), (1, channels, *size) or a tensor; ndim: its axes, where known."""
    if given is None:
        return None
    shape = _sizes(given.shape if isinstance(given, Tensor) else given)
    if not shape:
        got = type(given).__name__ if not isinstance(given, list | tuple) else repr(given)[:LONGEST]
        raise SettingError("input_shape of a network", got=got, expected="(channels, *size), as in (3, 224, 224)")
    if isinstance(given, Tensor) or (ndim is not None and len(shape) == ndim + 2):
        if shape[0] != 1:
            raise ShapeError("input_shape of a network", got=shape, expected="(channels, *size): one image")
        shape = shape[1:]
    return Volume(shape[0], shape[1:])


def _of_module(model: nn.Module, input_shape: Any, name: str) -> ModelNetwork:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    if isinstance(model, torch.jit.ScriptModule):
        fix = "Inspect the module that it was made of, or export it."
        raise SettingError(f"inspecting {name}", got="a scripted module, whose calls cannot be seen", fix=fix)
    waiting = [one for one in model.parameters() if isinstance(one, nn.parameter.UninitializedParameter)]
    if waiting:
        got, expected = f"{len(waiting)} parameters without a shape yet", "a module that knows its sizes"
        raise SettingError(f"inspecting {name}", got=got, expected=expected, fix="Call it once on an example.")
    if input_shape is None:
        fits = _first_that_fits(model, name)
        if fits is None:
            got = f"no input shape, and none of those tried in {PATIENCE:g} seconds fits"
            raise ShapeError(f"inspecting {name}", got=got, fix="Give the input shape.")
        return fits[1]
    problem: ModelFailed | None = None
    for inputs in _readings_of(model, input_shape):
        try:
            return _traced(model, inputs, name)
        except ModelFailed as failed:
            problem = problem or failed
    assert problem is not None
    raise _explained(model, input_shape, name, problem)


def _traced(model: nn.Module, inputs: Any, name: str) -> ModelNetwork:
    found = trace(model, inputs)
    assert found.network is not None
    return ModelNetwork(name, found.network, found.outputs, found.unused, found.notes)


def _readings_of(model: nn.Module, given: Any) -> Iterator[Any]:
    """The arguments that a given shape can mean: without a batch first, where its rank does not say otherwise."""
    if isinstance(given, Tensor):
        yield (given,)
    elif isinstance(given, dict):
        yield {name: _tensor(model, one) for name, one in given.items()}
    elif sizes := _sizes(given):
        shapes = [(1, *sizes), sizes]
        if _rank(model) == len(sizes) - 2:
            shapes.reverse()
        yield from ((_image(model, shape),) for shape in shapes)
    elif isinstance(given, list | tuple) and given:
        yield tuple(_tensor(model, one) for one in given)
    else:
        expected = "(channels, *size), as in (3, 224, 224), a tensor, or several of them"
        raise SettingError("input_shape", got=repr(given), expected=expected)


def _tensor(model: nn.Module, one: Any) -> Any:
    sizes = _sizes(one)
    return one if sizes is None else _image(model, sizes)


def _image(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Without numbers, of the type of the model's parameters."""
    kinds = (one.dtype for one in model.parameters() if one.is_floating_point())
    return torch.empty(shape, device="meta", dtype=next(kinds, torch.float32))


def _sizes(given: Any) -> tuple[int, ...] | None:
    """A list or tuple of integers, which have to be positive; None for anything else."""
    if not isinstance(given, list | tuple) or not all(isinstance(one, int) for one in given):
        return None
    if any(isinstance(one, bool) or one < 1 for one in given):
        raise SettingError("input_shape", got=tuple(given), expected="integers >= 1")
    return tuple(given)


def _rank(model: nn.Module) -> int | None:
    """The number of axes that the first layer which says so slides over."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if hasattr(module, "kernel_size") and isinstance(weight, Tensor):
            return len(module.kernel_size) if isinstance(module.kernel_size, tuple) else weight.ndim - 2
    return None


def _candidates(model: nn.Module) -> Iterator[tuple[int, ...]]:
    first: Any = next((one for one in model.modules() if hasattr(one, "in_channels")), None)
    rank = _rank(model)
    if first is None or rank is None:
        linear: Any = next((one for one in model.modules() if hasattr(one, "in_features")), None)
        if linear is not None:
            yield (1, linear.in_features)
        rank = rank or 2
    count = first.in_channels if first is not None else 3
    for size in SIZES if rank > 1 else LENGTHS if count > 2 else (16000, *LENGTHS):
        yield (1, count, *(size,) * rank)


def _first_that_fits(model: nn.Module, name: str) -> tuple[tuple[int, ...], ModelNetwork] | None:
    """The first shape of those tried, one after another until patience ends, and the network on it."""
    end = time.monotonic() + PATIENCE
    for shape in itertools.islice(_candidates(model), TRIED):
        with suppress(ModelFailed):
            return shape, _traced(model, (_image(model, shape),), name)
        if time.monotonic() > end:
            break
    return None


def _explained(model: nn.Module, given: Any, name: str, problem: ModelFailed) -> TorchconvError:
    fits = _first_that_fits(model, name) if _sizes(given) else None
    fix = f"An input of {'x'.join(map(str, fits[0][1:]))} works." if fits else ""
    where = f"layer {problem.layer} ({problem.kind})" if problem.layer else problem.kind or "the model"
    said = problem.expected if len(problem.expected) <= LONGEST else f"{problem.expected[:LONGEST]}..."
    return ShapeError(f"{name} on {_shown(given)}, in {where}", got=problem.got, expected=said, fix=fix)


def _shown(given: Any) -> str:
    """Inputs by their shapes, however many numbers they hold."""
    if sizes := _sizes(given):
        return f"an input of {sizes}"
    shapes = [str(tuple(one.shape)) for one in pytree.tree_leaves(given) if isinstance(one, Tensor)]
    more = f" and {len(shapes) - 8} more" if len(shapes) > 8 else ""
    return f"inputs of shape {', '.join(shapes[:8])}{more}" if shapes else "the given inputs"


def running(model: Any) -> AbstractContextManager[None]:
    """A module in evaluation mode, and as it was afterwards; of a function nothing is known."""
    return evaluating(model) if isinstance(model, nn.Module) else nullcontext()


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
