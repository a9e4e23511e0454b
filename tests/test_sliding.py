"""A classifier that slides over a larger image gives at every window the scores of that crop."""

from itertools import product
from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

import torchconv as tc
from torchconv.errors import SettingError, ShapeError, UnsupportedError

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def settled(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """In eval mode, with statistics of batch normalisation that are not 0 and 1."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return model.to(dtype).eval()


@torch.no_grad()
def crops(model: nn.Module, image: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """The scores of every crop of a size, one by one: (batch, classes, *positions)."""
    steps = [range(0, n - w + 1, s) for n, w, s in zip(image.shape[2:], size, stride, strict=True)]
    found = []
    for corner in product(*steps):
        cut = image
        for axis, (begin, length) in enumerate(zip(corner, size, strict=True), 2):
            cut = cut.narrow(axis, begin, length)
        found.append(model(cut).flatten(1))
    return torch.stack(found, -1).unflatten(-1, [len(step) for step in steps])


@torch.no_grad()
def check(
    model: nn.Module,
    volume: tuple[int, ...],
    larger: tuple[int, ...],
    stride: tuple[int, ...],
    tolerance: float = 1e-12,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Every window's scores are those of the crop; at the trained size there is one position."""
    settled(model, dtype)
    sliding = tc.as_convolution(model, volume)
    image = torch.randn(2, volume[0], *larger, dtype=dtype)
    expected = crops(model, image, volume[1:], stride)
    found = sliding(image)[(..., *(slice(n) for n in expected.shape[2:]))]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())
    once = image[(..., *(slice(n) for n in volume[1:]))]
    one = sliding(once)
    assert one.shape == (2, expected.shape[1], *[1] * len(stride))
    torch.testing.assert_close(one.flatten(1), model(once).flatten(1))
    return sliding


@st.composite
def classifiers(draw) -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    """Layers without padding, their input volume, and the stride of windows."""
    ndim = draw(st.sampled_from([1, 2, 2, 3]))
    channels, size, stride = draw(st.integers(1, 3)), [draw(st.integers(9, 12)) for _ in range(ndim)], [1] * ndim
    volume = (channels, *size)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(0, 3))):
        axes = [(draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))) for _ in range(ndim)]
        if any(n < d * (k - 1) + 1 for n, (k, _, d) in zip(size, axes, strict=True)):
            break
        kernel, step, dilation = (tuple(values) for values in zip(*axes, strict=True))
        if draw(st.booleans()):
            out = draw(st.integers(1, 2)) * 2
            layers.append(CONVS[ndim](channels, out, kernel, step, dilation=dilation, bias=draw(st.booleans())))
            channels = out
        else:
            statistic = draw(st.sampled_from(["max", "mean", "l2"]))
            layers.append(getattr(tc.nn, f"Pool{ndim}d")(kernel, step, dilation=dilation, statistic=statistic))
        size = [(n - d * (k - 1) - 1) // s + 1 for n, (k, s, d) in zip(size, axes, strict=True)]
        stride = [a * s for a, s in zip(stride, step, strict=True)]
        layers += draw(st.sampled_from([[nn.ReLU()], [NORMS[ndim](channels), nn.Tanh()], []]))
    hidden = draw(st.integers(2, 4)) * 2
    layers += [nn.Flatten(), nn.Linear(channels * prod(size), hidden), nn.ReLU()]
    layers += draw(
        st.sampled_from(
            [
                [nn.BatchNorm1d(hidden)],
                [nn.LayerNorm(hidden)],
                [tc.nn.Maxout(2), nn.Linear(hidden // 2, hidden)],
                [nn.Dropout(), nn.Linear(hidden, hidden, bias=False), nn.PReLU(hidden)],
                [],
            ]
        )
    )
    layers += [nn.Linear(hidden, 3), draw(st.sampled_from([nn.Identity(), nn.Softmax(1), nn.LogSoftmax(-1)]))]
    return nn.Sequential(*layers), volume, tuple(stride)


@settings(max_examples=60, deadline=None)
@given(classifiers(), st.integers(0, 5), st.integers(0, 2**30))
def test_every_window_has_the_scores_of_its_crop(drawn, more, seed):
    torch.manual_seed(seed)
    model, volume, stride = drawn
    check(model, volume, tuple(n + more + axis for axis, n in enumerate(volume[1:])), stride)


def test_the_law_can_fail():
    """Another order of the flattened values, or a window shifted by one, is seen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 16, 3)).double()
    sliding = tc.as_convolution(model, (1, 6, 6))
    image = torch.randn(1, 1, 8, 8).double()
    expected = crops(model, image, (6, 6), (1, 1))
    assert torch.allclose(sliding(image), expected)
    assert not torch.allclose(sliding(image.roll(1, -1)), expected)
    with torch.no_grad():
        sliding[2].weight.copy_(sliding[2].weight.transpose(-1, -2).clone())
    assert not torch.allclose(sliding(image), expected)


class Residual(nn.Module):
    """A forward of its own: functions, a residual sum, a concatenation, a view, one ReLU used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)
        self.scale = nn.Parameter(torch.randn(4, 1, 1))
        self.act = nn.ReLU()
        self.fc = nn.Sequential(nn.Linear(8 * 9, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        x = F.relu(x + self.scale * self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.cat([x, x.abs() * 2], dim=1)
        x = F.dropout(x, 0.5, self.training)
        return F.log_softmax(self.fc(self.act(x.view(x.size(0), -1))), dim=-1)


class Pooled(nn.Module):
    """Global pooling by a method."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.conv, self.fc, self.keepdim = nn.Conv2d(1, 4, 3, 2), nn.Linear(4, 3), keepdim

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean([-2, -1], keepdim=self.keepdim)
        return self.fc(torch.flatten(x, 1) if self.keepdim else x)


MODELS = {
    "own forward": (Residual, (1, 8, 8), (2, 2)),
    "mean": (lambda: Pooled(False), (1, 9, 9), (2, 2)),
    "mean, keepdim": (lambda: Pooled(True), (1, 9, 9), (2, 2)),
    "adaptive to 1": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        (1, 7, 8),
        (1, 1),
    ),
    "adaptive to a divisor": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d((2, 3)), nn.Flatten(), nn.Linear(24, 2)),
        (1, 8, 8),
        (3, 2),
    ),
    "adaptive to itself": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2)),
        (1, 6, 6),
        (1, 1),
    ),
    "global l2": (lambda: nn.Sequential(nn.Conv1d(1, 4, 3), tc.nn.GlobalPool("l2"), nn.Linear(4, 2)), (1, 9), (1,)),
    "connection table": (
        lambda: nn.Sequential(
            tc.nn.Conv2d(3, 2, 3, connections=[[1, 0, 1], [0, 1, 1]]), nn.Flatten(), nn.Linear(32, 2)
        ),
        (3, 6, 6),
        (1, 1),
    ),
    "learned pooling": (
        lambda: nn.Sequential(tc.nn.LearnedPool2d(2), nn.Flatten(), nn.Linear(27, 2)),
        (3, 6, 6),
        (2, 2),
    ),
    "gated": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GLU(1), nn.Flatten(), nn.Linear(16, 4), nn.GLU()),
        (1, 6, 6),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    torch.manual_seed(1)
    make, volume, stride = MODELS[name]
    check(make(), volume, tuple(n + 4 for n in volume[1:]), stride)


TEXTS = {
    "LeNet-5": ("lenet5", (1, 32, 32), (40, 37), (4, 4)),
    "AlexNet, thin": (
        "CONV[6, 11x11, stride=4, valid] - RELU - NORM[local] - POOL[3x3, stride=2]"
        " - CONV[8, 3x3, groups=2, valid] - RELU - POOL[2x2, stride=1] - (DROPOUT - FC[9] - RELU)*2 - FC - SOFTMAX",
        (3, 67, 67),
        (75, 83),
        (8, 8),
    ),
    "global pooling and batch normalisation": (
        "CONV[4, 3x3, valid] - NORM - RELU - GLOBALPOOL - FC[5] - NORM - RELU - FC",
        (2, 7, 7),
        (9, 8),
        (1, 1),
    ),
    "Maxout": ("CONV[4, 3x3, valid] - MAXOUT[2] - FC[8] - MAXOUT[4] - FC", (2, 6, 6), (9, 8), (1, 1)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name):
    torch.manual_seed(2)
    text, volume, larger, stride = TEXTS[name]
    sliding = check(tc.build(text, input=volume), volume, larger, stride)
    assert tc.receptive_field(sliding, (volume[0], *larger)).stride == stride


def test_float32():
    torch.manual_seed(3)
    check(tc.build("lenet5"), (1, 32, 32), (40, 36), (4, 4), 1e-5, torch.float32)


@pytest.mark.parametrize(("name", "size", "positions"), [("vgg16", 384, 6), ("alexnet", 387, 6), ("resnet18", 384, 6)])
def test_published_positions(name, size, positions):
    """CS231n: 224 to 384 pixels, five halvings: 12x12x512 in front of the head, and (12 - 7) / 1 + 1 = 6 scores."""
    with torch.device("meta"):
        model = tc.build(name, classes=1000)
    volume = model.network.input
    sliding = tc.as_convolution(model, (volume.channels, *volume.size))
    assert sliding(torch.empty(1, 3, *volume.size, device="meta")).shape == (1, 1000, 1, 1)
    assert sliding(torch.empty(1, 3, size, size, device="meta")).shape == (1, 1000, positions, positions)
    assert tc.receptive_field(sliding, (3, size, size)).stride == (32, 32)
    if name == "vgg16":
        assert sliding.get_submodule("fc1").weight.shape == (4096, 512, 7, 7)
        assert sliding.get_submodule("fc2").weight.shape == (4096, 4096, 1, 1)


def test_a_head_on_its_own():
    head = nn.Sequential(nn.Flatten(), nn.Linear(512 * 7 * 7, 4), nn.ReLU(), nn.Linear(4, 10))
    sliding = tc.as_convolution(head, (512, 7, 7))
    features = torch.randn(1, 512, 12, 12)
    found = sliding(features)
    assert found.shape == (1, 10, 6, 6)
    torch.testing.assert_close(found[..., 2, 5], head(features[..., 2:9, 5:12]), rtol=1e-4, atol=1e-5)


def test_one_layer():
    for layer, volume, shape in [
        (nn.Linear(24, 3), (4, 6), (3, 4, 6)),
        (nn.Linear(24, 3, bias=False), (2, 3, 4), (3, 2, 3, 4)),
        (nn.Linear(24, 3, dtype=torch.float64), 24, (3, 24, 1, 1)),
        (nn.Linear(24, 3), (24,), (3, 24, 1, 1)),
    ]:
        layer.weight.requires_grad_(False)
        found = tc.as_convolution(layer.eval(), volume)
        assert isinstance(found, tc.nn.Conv)
        assert not found.training
        assert found.weight.shape == shape
        assert found.weight.dtype == layer.weight.dtype
        assert torch.equal(found.weight.flatten(1), layer.weight)
        assert not found.weight.requires_grad
        assert (found.bias is None) == (layer.bias is None)
        assert found.weight.data_ptr() != layer.weight.data_ptr()
        assert found.bias is None or (torch.equal(found.bias, layer.bias) and found.bias.requires_grad)
    assert tc.as_convolution(nn.Linear(24, 3), 24, ndim=3).weight.shape == (3, 24, 1, 1, 1)


def test_parameters_keep_names_modes_and_ties():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    shared = nn.Conv2d(2, 2, 1)
    model.insert(1, nn.Sequential(shared, nn.ReLU(), shared))
    model[2].eval()
    sliding = tc.as_convolution(model, (1, 4, 4))
    assert list(sliding.state_dict()) == list(model.state_dict())
    assert {name: part.training for name, part in sliding.named_modules()} == {
        name: part.training for name, part in model.named_modules()
    }
    assert sliding[1][0] is sliding[1][2] is not shared
    before = model[0].weight.clone()
    sliding[0].weight.data.zero_()
    assert torch.equal(model[0].weight, before)


def test_learning_goes_on():
    """Gradients reach the copies: at the trained size those of the original."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    sliding = tc.as_convolution(model, (1, 4, 4))
    image = torch.randn(5, 1, 4, 4).double()
    for one in (model, sliding):
        one(image).square().sum().backward()
    for mine, theirs in zip(sliding.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.flatten(), theirs.grad.flatten())


def test_same_padding_is_that_of_the_trained_size():
    """A stride of 2 pads 8 samples at the high side only, 9 at both: windows would move by one."""
    torch.manual_seed(4)
    model = tc.build("CONV[2, 3x3, stride=2] - POOL[3x3, stride=2, same] - FC", input=(1, 16, 16)).eval()
    sliding = tc.as_convolution(model, (1, 16, 16))
    image = torch.randn(1, 1, 33, 33)
    inside, outside = image[..., 4:20, 8:24], sliding(image)[..., 1, 2]
    assert torch.allclose(sliding(image[..., :16, :16]).flatten(1), model(image[..., :16, :16]), atol=1e-6)
    image_around = torch.zeros_like(image)
    image_around[..., 4:20, 8:24] = inside
    assert not torch.allclose(outside, model(inside), atol=1e-6), "neighbours are seen in place of padding"
    assert torch.allclose(sliding(image_around)[..., 1, 2], model(inside), atol=1e-6)


def test_dropout_and_copies_of_traced_models():
    """A function of dropout follows train() and eval(), and the model can be copied and compiled to a program."""
    torch.manual_seed(5)
    sliding = tc.as_convolution(Residual().train(), (1, 8, 8))
    image = torch.randn(1, 1, 12, 12)
    assert sliding.training
    assert not torch.equal(sliding(image), sliding(image))
    sliding.eval()
    assert torch.equal(sliding(image), sliding(image))
    exported = torch.export.export(sliding, (image,)).module()
    torch.testing.assert_close(exported(image), sliding(image))


class Gated(nn.Module):
    """Every place times a summary of all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.pool(x)


class Meeting(nn.Module):
    """Branches of different strides that are as large at one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.MaxPool2d(2), nn.Conv2d(4, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.other(x)], 1)


class Calling(nn.Module):
    """A function as a model."""

    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def hooked() -> nn.Module:
    layer = nn.Linear(256, 2)
    layer.register_forward_hook(lambda *values: None)
    return layer


FORWARDS = {
    "keywords": lambda self, x: self.fc(
        torch.flatten(input=F.gelu(input=self.conv(x), approximate="tanh"), start_dim=1)
    ),
    "a sum with itself": lambda self, x: self.fc((self.both(self.conv(x)) + self.conv(x)).reshape(-1, 128)),
    "other by name": lambda self, x: self.fc(torch.add(self.conv(x), other=self.conv(x), alpha=0.5).flatten(1)),
    "arithmetic": lambda self, x: self.fc((1 - self.conv(x) ** 2 / 3).clamp(min=-1).flatten(1)).softmax(-1),
    "of one place": lambda self, x: F.softmax(self.last(F.avg_pool2d(self.conv(x), 8, 1).squeeze()), dim=1),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_functions(name):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc, self.last = nn.Conv2d(1, 2, 3), nn.Linear(128, 3), nn.Linear(2, 3)
            self.both = tc.nn.Pool2d(1)

        forward = FORWARDS[name]

    torch.manual_seed(6)
    check(Model(), (1, 10, 10), (12, 13), (1, 1))


REFUSED = {
    "softmax of flattened": (nn.Sequential(nn.Flatten(), nn.Softmax(1)), "flattened from places"),
    "softmax over places": (nn.Softmax(-1), "dimension 3, over places"),
    "batch norm of flattened": (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256)), "flattened from places"),
    "batch statistics": (nn.BatchNorm2d(4, track_running_stats=False), "running statistics"),
    "group norm": (nn.GroupNorm(2, 4), "mean and variance are taken over places"),
    "layer norm": (nn.LayerNorm([4, 8, 8]), "mean and variance are taken over places"),
    "flattened at the end": (nn.Flatten(), "256 flattened features"),
    "up-sampling": (nn.Upsample(scale_factor=2), "places between"),
    "transposed": (nn.ConvTranspose2d(4, 4, 2, 2), "places between"),
    "unshared": (tc.nn.LocallyConnected2d(4, 2, 3), "differs from place to place"),
    "tiled": (tc.nn.TiledConv2d(4, 2, 3, period=2), "differs from place to place"),
    "bias of places": (tc.nn.Conv2d(4, 2, 3, bias_sharing="none", input_size=8), "differs from place to place"),
    "pyramid": (tc.nn.GridPool2d([(1, 1), (2, 2)]), "pyramid"),
    "unequal cells": (nn.AdaptiveAvgPool2d(3), "3x3 on 8x8 places differ in size"),
    "places of the largest": (nn.MaxPool2d(2, return_indices=True), "returns 2 tensors"),
    "recurrent": (nn.Sequential(nn.Flatten(2), nn.LSTM(64, 4)), "layer 1, LSTM"),
    "lazy": (nn.LazyConv2d(3, 2), "no shape yet"),
    "hooks": (hooked(), "hooks"),
    "gate": (Gated(), r"a number that is taken over all places of a window \(by pool\)"),
    "branches of a text": (
        tc.build("CONCAT(POOL[2x2] | CONV[4, 5x5, valid]) - FC", input=(4, 8, 8)),
        r"\(2, 2\) samples apart and 4x4 places \(1, 1\) samples apart",
    ),
    "branches": (Meeting(), "not the same ones"),
    "one of the places": (Calling(lambda x: x[..., 0]), "over places"),
    "half of the places": (Calling(lambda x: x.chunk(2, -1)[0]), "over places"),
    "power of it": (Calling(lambda x: 2 ** x.flatten(1)), "256 flattened features"),
    "gated by name": (Calling(lambda x: torch.add(x, other=x.mean([2, 3], keepdim=True))), "over all places"),
    "pooled features": (nn.Sequential(nn.Flatten(), nn.MaxPool1d(2)), "flattened from places"),
    "sorted": (Calling(lambda x: x.sort(-1)[0]), "over places"),
    "reshaped": (Calling(lambda x: x.view(x.size(0), 16, -1)), "mixes places"),
    "reshaped by numbers": (Calling(lambda x: x.reshape(-1, 128)), "128 flattened features"),
    "looks at numbers": (Calling(lambda x: x if x.sum() > 0 else -x), "path depends on the numbers"),
    "two results": (Calling(lambda x: (x, x)), "returns 2 tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_slide_is_refused_with_the_reason(name):
    model, reason = REFUSED[name]
    with pytest.raises(UnsupportedError, match=reason):
        tc.as_convolution(model, (4, 8, 8))


def test_bad_input():
    with pytest.raises(ShapeError, match=r"in_features=100, expected 120, .* \(4, 6, 5\)"):
        tc.as_convolution(nn.Linear(100, 3), (4, 6, 5))
    with pytest.raises(ShapeError, match=r"layer 1, Conv2d: got a volume \(4, 3, 3\)"):
        tc.as_convolution(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 2)), (4, 3, 3))
    for volume in ((), 0, (4, -1), "4", 2.5):
        with pytest.raises(SettingError, match="volume"):
            tc.as_convolution(nn.Linear(4, 3), volume)
    with pytest.raises(SettingError, match="ndim: got 3, expected 2"):
        tc.as_convolution(nn.Linear(4, 3), (4, 1, 1), ndim=3)
    with pytest.raises(SettingError, match="a torch"):
        tc.as_convolution("vgg16", (3, 224, 224))
