"""How a recipe changes a network before its first step: whitening, convolutions that pass on, the settings of NORM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import SettingError
from ..language.network_module import NetworkModule
from ..network import operations as ops
from ..nn.conv import Conv
from .optimisation import layers
from .recipes import Recipe

IMAGES, CHUNK = 5000, 250  # that patches are taken from, and at a time
WHITENING_NOISE = 5e-4  # variance below which a direction of the patches counts as noise
WHITENING_EPOCHS = 3  # for which the bias of the whitening layer learns


def prepare(module: NetworkModule, recipe: Recipe, images: Tensor | None = None) -> None:
    """Change a freshly built network as the recipe says; images: scaled ones (N, channels, *size), to whiten."""
    for child in normalised(module):
        # NORM takes the bias away again, so that its gradient is noise of rounding, which AdamW would blow up
        if isinstance(bias := getattr(child, "bias", None), Tensor):
            bias.requires_grad_(False)
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.momentum = recipe.norm_momentum
            if child.weight is not None:
                child.weight.requires_grad_(recipe.norm_scales)
    first = whitened(module, images.shape[2:]) if recipe.whitening and images is not None else None
    if first is not None and images is not None:
        whiten(first, images[:IMAGES], WHITENING_NOISE)
    if recipe.identity:
        for child in module.modules():
            if isinstance(child, Conv) and child is not first:
                pass_on(child)
    if recipe.score_scale != 1 and (found := layers(module)):
        with torch.no_grad():
            for parameter in found[-1].parameters():
                parameter.mul_(recipe.score_scale)


def normalised(module: NetworkModule) -> list[torch.nn.Module]:
    """The layers whose output goes into NORM and nowhere else."""
    owners = {node.name: node.shares or node.name for node in module.network.nodes}
    readers: dict[str, set[str]] = {name: set() for name in owners.values()}
    for node in module.network.nodes:
        for name in node.inputs:
            readers[owners[name]].add(owners[node.name])
    layers = {name: module.get_submodule(name) for name in readers if name != module.network.nodes[0].name}
    return [
        layer
        for name, layer in layers.items()
        if readers[name]
        and all(isinstance(layers[other], _BatchNorm) for other in readers[name])
        and not isinstance(layer, _BatchNorm)
    ]


def whitened(module: NetworkModule, size: Sequence[int]) -> Conv:
    """The convolution that reads images of this size; raises SettingError where there is none that can whiten them."""
    nodes = module.network.nodes
    node = next((node for node in nodes if isinstance(node.operation, ops.Convolve)), None)
    first = None if node is None or node.inputs[0] != nodes[0].name else module.get_submodule(node.name)
    got = "no convolution to begin with"
    expected = "an ordinary convolution, no larger than the image, whose outputs are an even number"
    if isinstance(first, Conv):
        got = f"{first.convolution} as the first layer"
        if _whitens(first, size):
            most = 2 * first.weight[0].numel()
            if first.out_channels % 2 == 0 and first.out_channels <= most:
                return first
            expected += f" up to {most}"
    fix = "Begin the text with INPUT - CONV[24, 2x2, valid], or use another --recipe."
    raise SettingError("a recipe that whitens", got=got, expected=expected, fix=fix)


def _whitens(conv: Conv, size: Sequence[int]) -> bool:
    """Whether the outputs of a convolution are one kernel's on patches of an image of this size."""
    spans = [axis.span for axis in conv.convolution.axes]
    undilated = set(conv.convolution.input_dilation) == {1}
    fits = all(span <= length for span, length in zip(spans, size, strict=True))
    return _ordinary(conv) and conv.groups == 1 and undilated and fits


@torch.no_grad()
def whiten(conv: Conv, images: Tensor, noise: float) -> None:
    """Make the outputs of a convolution uncorrelated over patches of the images, the strongest first, and keep it so.

    noise: added to the variances, so that faint directions are not blown up. The kernels are the eigenvectors of the
    patches' second moments, scaled to variance 1, and their negatives (Page 2018; Jordan 2024, section 3.2).
    """
    moments, count = conv.weight.new_zeros((), dtype=torch.float64), 0
    for part in images.split(CHUNK):
        rows = _patches(conv, part).to(moments)
        moments, count = moments + rows.T @ rows, count + len(rows)
    variances, vectors = torch.linalg.eigh(moments / count)
    scaled = (vectors / (variances.clamp_min(0) + noise).sqrt()).T.flip(0)[: conv.out_channels // 2]
    conv.weight.copy_(torch.cat([scaled, -scaled]).view_as(conv.weight))
    conv.weight.requires_grad_(False)


def _patches(conv: Conv, images: Tensor) -> Tensor:
    """What the kernel sees at every position of every image, a row each."""
    patches = images
    for axis, (kernel, dilation) in enumerate(zip(conv.kernel_size, conv.dilation, strict=True)):
        patches = patches.unfold(axis + 2, (kernel - 1) * dilation + 1, 1)[..., ::dilation]
    ndim = conv.convolution.ndim
    order = [0, *range(2, 2 + ndim), 1, *range(2 + ndim, 2 + 2 * ndim)]
    return patches.permute(order).reshape(-1, conv.weight[0].numel())


@torch.no_grad()
def pass_on(conv: Conv) -> None:
    """Let the first outputs of a convolution be its inputs; further outputs, and special layers, stay as they are."""
    if _ordinary(conv) and conv.convolution.groups == 1:
        torch.nn.init.dirac_(conv.weight[: conv.in_channels])


def _ordinary(conv: Conv) -> bool:
    """Whether the weight has the shape of torch's layers: one kernel everywhere."""
    shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)
    return not conv.transposed and tuple(conv.weight.shape) == shape and len(conv.kernel_size) <= 3
