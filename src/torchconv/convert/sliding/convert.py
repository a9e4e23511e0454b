"""A classifier over every window of a larger image at once: its fully connected layers as convolutions."""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import Any

from torch import fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from ...description.axis import plain, positive
from ...errors import SettingError, ShapeError, TorchconvError, UnsupportedError
from ...language.network_module import NetworkModule
from ...network.operations import Volume
from ...nn.conv import Conv
from . import rules
from .layers import CannotSlide, WindowVolume

HEAD = "Give the layers of the classifier as a torch.nn.Sequential, and the volume that it reads."


def as_convolution(module: nn.Module, volume: Any, *, ndim: int | None = None) -> nn.Module:
    """A classifier that slides over images of any size, and scores every window as the given one scores that crop.

    module: a Linear, the head of a classifier, or all of it: a Sequential, what tc.build made, or any module that
    torch.fx can follow. volume: what it reads, (channels, *size), of which Linear gets the values flattened;
    (channels,) or an int: one place, on ndim axes (2 unless it is given). Parameters are copies, under their names.

    Returns a module from (batch, channels, *larger size) to (batch, classes, *positions); at the size of `volume`,
    one position. Linear becomes a convolution of the size that it reads, global pooling a pooling of that size with
    stride 1, batch normalisation behind a Linear one over channels. Window i of an axis begins at sample i * stride
    of the image, with the stride that `tc.receptive_field` tells: the product of all strides. Scores are those of the
    crops where nothing pads; else layers see neighbours where a crop has padding (also "same", which pads as it does
    at the size of `volume`, and windows of ceil_mode that end outside). Batch normalisation agrees in eval mode.

    Raises ShapeError where a layer does not read what comes, UnsupportedError with the reason for layers that cannot
    slide: unshared and tiled ones, statistics or softmax over places, and those that are not known.
    Source: CS231n, Convolutional neural networks, Converting FC layers to CONV layers; Sermanet et al. 2014, OverFeat,
    section 3.5.

    >>> import torch
    >>> head = nn.Sequential(nn.Flatten(), nn.Linear(512 * 7 * 7, 8), nn.ReLU(), nn.Linear(8, 10))
    >>> sliding = as_convolution(head, (512, 7, 7))
    >>> sliding(torch.zeros(1, 512, 12, 12)).shape, sliding[1].weight.shape
    (torch.Size([1, 10, 6, 6]), torch.Size([8, 512, 7, 7]))
    """
    if not isinstance(module, nn.Module):
        raise SettingError("module", got=repr(module), expected="a torch.nn.Module, as in nn.Linear(512 * 7 * 7, 10)")
    read = _volume(volume, ndim)
    name = type(module).__name__
    found, seen = _Conversion().module(module, (WindowVolume(read, (1,) * len(read.size)),), "")
    if seen.flat and not seen.alone:
        got = f"{seen.volume.numel} flattened features, from places ({seen.volume})"
        raise UnsupportedError(f"as_convolution of {name}", got=got, expected="scores at the end", fix=HEAD)
    modes = {path: part.training for path, part in module.named_modules(remove_duplicate=False)}
    for path, part in found.named_modules(remove_duplicate=False):
        part.training = modes.get(path, module.training)
    return found


def _volume(volume: Any, ndim: int | None) -> Volume:
    given = plain(volume)
    numbers = [positive("volume", value) for value in (given if isinstance(given, list) else [given])]
    if not numbers:
        raise SettingError("volume", got=repr(volume), expected="(channels, *size), as in (512, 7, 7)")
    rank = positive("ndim", 2 if ndim is None else ndim)
    channels, *size = numbers
    if size and ndim is not None and rank != len(size):
        raise SettingError("ndim", got=ndim, expected=f"{len(size)}, the axes of the volume {tuple(numbers)}")
    return Volume(channels, tuple(size) or (1,) * rank)


class _Leaves(fx.Tracer):
    """Follows one forward only: what it calls is converted by itself."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class _Conversion:
    """One call of as_convolution; copies of what stays share what the originals shared."""

    def __init__(self) -> None:
        self.copies: dict[int, Any] = {}
        self._made: dict[int, nn.Module] = {}

    def module(self, module: nn.Module, seen: tuple[WindowVolume, ...], path: str) -> tuple[nn.Module, WindowVolume]:
        """What takes the place of a module that reads these, and what a window is behind it."""
        what = f"as_convolution of {f'layer {path}, ' if path else ''}{type(module).__name__}"
        rule = None
        try:
            _refuse_unseen(module)
            rule = rules.rule_of(module)
            if rule is not None:
                found, behind = rule(module, *seen)
                return (copy.deepcopy(module, self.copies) if found is module else self._new(module, found)), behind
            if type(module).forward is nn.Sequential.forward:
                return self._sequential(module, *seen, path=path)
            if type(module).__module__.startswith(("torch.", "torchconv.")) and not isinstance(module, NetworkModule):
                raise CannotSlide("nothing is known of how it treats places", HEAD)
            return self._followed(module, seen, path)
        except CannotSlide as error:
            got, fix = f"one that cannot slide, since {error.reason}", error.fix or (HEAD if rule is None else "")
            raise UnsupportedError(what, got=got, expected="the same way with every window", fix=fix) from error
        except TorchconvError:
            raise
        except (RuntimeError, ValueError, TypeError) as error:  # of torch, for an input that does not fit
            volumes = ", ".join(str((one.volume.channels, *one.volume.size)) for one in seen)
            raise ShapeError(what, got=f"a volume {volumes}", expected=f"one that it can read ({error})") from error

    def _new(self, module: nn.Module, found: nn.Module) -> nn.Module:
        """What was made anew for a module: once, so that a module with parameters that is used twice stays one."""
        if is_parametrized(module):
            fix = "Use torch.nn.utils.parametrize.remove_parametrizations first."
            raise CannotSlide("a parametrisation computes its weights, which would be lost", fix)
        if not list(found.parameters()):
            return found
        if str(self._made.setdefault(id(module), found)) != str(found):
            raise CannotSlide("it is used on volumes of different sizes, as layers that could not share its weights")
        return self._made[id(module)]

    def _sequential(self, module: Any, seen: WindowVolume, path: str) -> tuple[nn.Module, WindowVolume]:
        parts = {}
        for name, child in module._modules.items():  # named_children leaves out what comes a second time
            parts[name], seen = self.module(child, (seen,), f"{path}.{name}".lstrip("."))
        made = nn.Sequential()
        for name, part in parts.items():
            made.add_module(name, part)
        return made, seen

    def _followed(self, module: nn.Module, seen: tuple[WindowVolume, ...], path: str) -> tuple[nn.Module, WindowVolume]:
        made = Sliding(self, module, path)
        for node in _graph(module).nodes:
            made.add(node, seen)
        return fx.GraphModule(made.parts, made.graph, type(module).__name__), made.behind


class Sliding:
    """The graph of a module while it is written anew for larger images, node by node."""

    def __init__(self, conversion: _Conversion, module: nn.Module, path: str) -> None:
        self._conversion, self._module, self._path = conversion, module, path
        self.graph = fx.Graph()
        self.parts: dict[str, nn.Module] = {}  # what the graph calls, by name
        self.behind: WindowVolume  # what a window is behind it, once all nodes are there
        self._known: dict[fx.Node, Any] = {}  # what was seen of a node of the module, or the number that it is
        self._nodes: dict[fx.Node, fx.Node] = {}
        self._done: dict[tuple[str, tuple[WindowVolume, ...]], tuple[nn.Module, WindowVolume]] = {}

    def add(self, node: fx.Node, inputs: tuple[WindowVolume, ...]) -> None:
        """Write what takes the place of a node."""
        if node.op == "placeholder":
            if len(self._nodes) == len(inputs):
                raise CannotSlide("its forward takes more than one tensor", HEAD)
            self._known[node] = inputs[len(self._nodes)]
            self._nodes[node] = self.graph.placeholder(node.name)
        elif node.op == "get_attr":
            self._known[node] = operator.attrgetter(str(node.target))(self._module)
            self.parts[str(node.target)] = copy.deepcopy(self._known[node], self._conversion.copies)
            self._nodes[node] = self.graph.get_attr(str(node.target))
        elif node.op == "call_module":
            nodes = (one for one in node.args if isinstance(one, fx.Node))
            reads = [one for one in nodes if isinstance(self._known[one], WindowVolume)]
            if node.kwargs or len(reads) < len(node.args):
                raise CannotSlide(f"its forward calls {node.target} with more than tensors of the image", HEAD)
            part, self._known[node] = self._converted(str(node.target), tuple(self._known[one] for one in reads))
            self._call(node, str(node.target), reads, part)
        elif node.op == "output":
            (result,) = node.args
            if not isinstance(result, fx.Node) or not isinstance(self._known[result], WindowVolume):
                raise CannotSlide("its forward returns more than one tensor", HEAD)
            self.behind = self._known[result]
            self.graph.output(self._nodes[result])
        else:
            self._function(node)

    def _function(self, node: fx.Node) -> None:
        found = rules.called(node, self._known)
        if isinstance(found, str):
            self._known[node] = found
            return
        part, self._known[node] = found
        if isinstance(part, nn.Module):
            self._call(node, node.name, node.all_input_nodes[:1], part)
        else:
            self._nodes[node] = self.graph.node_copy(node, lambda one: self._nodes[one])

    def _call(self, node: fx.Node, name: str, reads: Sequence[fx.Node], part: nn.Module) -> None:
        """Write the call of a module, under a name that no other module has."""
        name = next((known for known, one in self.parts.items() if one is part), name)
        while name in self.parts and self.parts[name] is not part:
            name += "_again"
        self.parts[name] = part
        self._nodes[node] = self.graph.call_module(name, tuple(self._nodes[one] for one in reads))

    def _converted(self, name: str, seen: tuple[WindowVolume, ...]) -> tuple[nn.Module, WindowVolume]:
        if (name, seen) not in self._done:
            path = f"{self._path}.{name}".lstrip(".")
            self._done[name, seen] = self._conversion.module(self._module.get_submodule(name), seen, path)
        return self._done[name, seen]


def _graph(module: nn.Module) -> fx.Graph:
    """The calls of a module's forward, in order."""
    if isinstance(module, NetworkModule):
        return _described(module)
    training = module.training
    module.training = False  # of its own functions only: layers are not looked into
    try:
        return _Leaves().trace(module)
    except Exception as error:  # of any kind: it is the model's
        reason = f"its forward cannot be followed ({str(error).partition(chr(10))[0]})"
        raise CannotSlide(reason, HEAD) from error
    finally:
        module.training = training


def _described(module: NetworkModule) -> fx.Graph:
    """The layers of a network: its forward looks at the size of the image, which is what changes."""
    graph = fx.Graph()
    first, *others = module.network.nodes
    nodes = {first.name: graph.placeholder(first.name)}
    for node in others:
        nodes[node.name] = graph.call_module(node.shares or node.name, tuple(nodes[name] for name in node.inputs))
    graph.output(nodes[module.network.nodes[-1].name])
    return graph


def _refuse_unseen(module: nn.Module) -> None:
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)) and not isinstance(module, Conv):
        raise CannotSlide("its parameters have no shape yet", "Call the model once first.")
    if module._forward_hooks or module._forward_pre_hooks:
        raise CannotSlide("it has forward hooks, which might look at places", "Remove them first.")
