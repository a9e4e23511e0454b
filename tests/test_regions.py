"""Any part of what a model gives, computed from what it reads, is that part of the whole."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F

import torchconv as tc
from torchconv.convert.regions import windows
from torchconv.convert.tiled.model import TiledModel
from torchconv.convert.tiled.work import TileWork
from torchconv.errors import SettingError, UnsupportedError


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleDict(parts)

    def forward(self, x):
        return self.function(x, **self.parts)


def in_tiles(model, x, tile, **options):
    """The output put together of tiles, with passes of statistics before where there are some."""
    tiled = TiledModel(model, x.shape, tile, dtype=x.dtype, **options)
    for number in range(tiled.passes - 1):
        states = [tiled.accumulate(number, at, lambda box: x[box]) for at in range(len(tiled.statistics_boxes(number)))]
        merged = states[0]
        for state in states[1:]:
            merged = tiled.merge(number, merged, state)
        tiled.finish(number, merged)
    out = torch.empty(tiled.output_shape, dtype=tiled.output_dtype)
    seen = torch.zeros(tiled.output_shape, dtype=torch.int8)
    for box in tiled.tiles:
        asked = []
        part = tiled.compute(box, lambda one, asked=asked: (asked.append(one), x[one])[1])
        assert asked == [tiled.input_box(box)] or (not asked and tiled.passes > 1)
        assert tiled.workspace_bytes(box) >= (part.numel() * part.element_size() if asked else 0)
        out[box] = part
        seen[box] += 1
    assert (seen == 1).all()
    return out


def check(model, x, tile, exact=False, **options):
    torch.manual_seed(0)
    with torch.no_grad():
        whole = model.eval()(x)
    found = in_tiles(model, x, tile, **options)
    if exact or not whole.is_floating_point():
        assert torch.equal(found, whole)
    scale = max(float(whole.abs().max()), 1e-3) if whole.is_floating_point() else 1
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 * scale)


IMAGE = torch.randn(2, 3, 19, 23, generator=torch.Generator().manual_seed(0))
EVEN = torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def resized(**how):
    return Lambda(lambda x: F.interpolate(x, **how)), IMAGE


LOCAL = {
    "same": (nn.Conv2d(3, 4, 3, padding=1), IMAGE),
    "pointwise": (nn.Conv2d(3, 4, 1), IMAGE),
    "strided": (nn.Conv2d(3, 4, 5, 3, 2, dilation=2), IMAGE),
    "gaps": (nn.Conv2d(3, 4, 2, 5), IMAGE),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), IMAGE),
    "transposed with gaps": (nn.ConvTranspose2d(3, 4, 2, 3, output_padding=2, dilation=2), IMAGE),
    "reflect": (nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect"), IMAGE),
    "replicate": (nn.Conv2d(3, 4, 5, padding=4, padding_mode="replicate"), IMAGE),
    "max": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "mean": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "mean of data": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "mean by a number": (nn.AvgPool2d(3, 2, 1, divisor_override=5), IMAGE),
    "volume": (nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2)), torch.randn(1, 1, 7, 8, 9)),
    "signal": (nn.Sequential(nn.Conv1d(2, 3, 5, 2), nn.MaxPool1d(2), nn.AvgPool1d(2)), torch.randn(2, 2, 60)),
    "shuffled": (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PixelShuffle(2)), IMAGE),
    "unshuffled": (nn.PixelUnshuffle(2), EVEN),
    "linear 2": resized(scale_factor=2, mode="bilinear"),
    "linear 3": resized(scale_factor=3, mode="bilinear"),
    "corners": resized(size=(50, 31), mode="bilinear", align_corners=True),
    "nearest": resized(size=(50, 31), mode="nearest"),
    "nearest exact": resized(size=(8, 31), mode="nearest-exact"),
    "cubic": resized(size=(50, 13), mode="bicubic"),
    "by a fraction": resized(scale_factor=1.7, mode="bilinear"),
    "smaller": resized(size=(7, 9), mode="bilinear"),
    "anti-aliased": resized(size=(7, 40), mode="bicubic", antialias=True),
    "tokens": (Lambda(lambda x: (x.flatten(2).transpose(1, 2) * 2).softmax(2).mT.reshape(x.shape)), IMAGE),
    "tokens out": (Lambda(lambda x: x.flatten(2).transpose(1, 2)), IMAGE),
    "windows of tokens": (
        Lambda(
            lambda x: (
                F.layer_norm(x.view(1, 3, 6, 4, 8, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 3), (3,))
                .softmax(1)
                .view(1, 6, 8, 4, 4, 3)
                .permute(0, 5, 1, 3, 2, 4)
                .reshape(1, 3, 24, 32)
            )
        ),
        EVEN,
    ),
    "channels": (Lambda(lambda x: x[:, 1:] * x.split((1, 2), 1)[0] + F.pad(x, (0, 0, 0, 0, 0, 1))[:, ::2]), IMAGE),
    "labels": (Lambda(lambda x: x.argmax(1)), IMAGE),
    "padded and cut": (Lambda(lambda x: F.pad(x, (3, -2, 1, 4), value=2.0)[:, :, 2:-3:2, 1:]), IMAGE),
    "joined": (Lambda(lambda x: torch.cat([x, x[:, :, :5] * 2, torch.ones(2, 3, 3, 23)], 2)), IMAGE),
    "with places": (Lambda(lambda x: x + torch.arange(23.0) + torch.ones_like(x)), IMAGE),
    "cropped skip": (Lambda(lambda x, c: torch.cat([c(x), x[..., 1:-1, 1:-1]], 1), c=nn.Conv2d(3, 2, 3)), IMAGE),
    "rows to columns": (Lambda(lambda x: x[..., :19] - x[..., :19].mT), IMAGE),
    "last": (Lambda(lambda x: x.permute(0, 2, 3, 1)), IMAGE),
    "columns": (Lambda(lambda x: F.unfold(x, (3, 2), stride=2, padding=1, dilation=2)), IMAGE),
    "folded": (
        Lambda(lambda x: F.fold(F.unfold(x, 3, stride=2, padding=1) ** 2, (19, 23), 3, stride=2, padding=1)),
        IMAGE,
    ),
    "unfolded": (Lambda(lambda x: x.unfold(2, 3, 2).unfold(3, 4, 1).amax((-1, -2))), IMAGE),
    "ours": (nn.Sequential(tc.nn.Conv2d(3, 4, 3, padding="same", stride=2), tc.nn.Pool2d(2, 1, statistic="l2")), IMAGE),
    "our borders": (tc.nn.Conv2d(3, 4, 5, padding=(1, 3), padding_mode="reflect"), IMAGE),
    "our turns": (tc.nn.TiledConv2d(3, 4, 3, period=(2, 3), padding=1), IMAGE),
    "our means": (tc.nn.Pool2d(3, 2, 1, statistic="mean"), IMAGE),
    "a text": (tc.build("INPUT[24x32x3] - CONV[4] - RELU - POOL - CONV[4] - UPSAMPLE - CONV[2]"), EVEN),
}


@pytest.mark.parametrize("tile", [1, (5, 8), 64])
@pytest.mark.parametrize("name", LOCAL)
def test_tiles_are_the_whole(name, tile):
    model, x = LOCAL[name]
    if tile == 1 and x[0, 0].numel() > 500:
        tile = 2
    check(model, x, tile if isinstance(tile, int) else (*tile, 4)[: x.ndim - 2], exact=tile == 64)


def attended(x, keys):
    """Every place of x reads all of the keys."""
    queries, keys = (one.flatten(2).mT[:, None].contiguous() for one in (x, keys))
    return F.scaled_dot_product_attention(queries, keys, keys)[:, 0].mT.reshape(x.shape)


STATISTICS = {
    "instance": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 2, 3), nn.InstanceNorm2d(2)
    ),
    "group": nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)),
    "layer": nn.LayerNorm((3, 19, 23)),
    "rows": nn.LayerNorm(23),
    "squeezed": Lambda(lambda x: x * torch.sigmoid(F.adaptive_avg_pool2d(x, 1))),
    "pyramid": Lambda(lambda x: x + F.interpolate(F.adaptive_avg_pool2d(x, 3), x.shape[2:], mode="bilinear")),
    "largest": Lambda(lambda x: x + F.interpolate(F.adaptive_max_pool2d(x, (2, 3)), x.shape[2:])),
    "softmax": Lambda(lambda x: x.flatten(2).softmax(-1).view(x.shape)),
    "softmax of rows": Lambda(lambda x: x.log_softmax(3)),
    "strips": Lambda(lambda x: x * x.mean(2, keepdim=True) + x * x.amax(3, keepdim=True)),
    "whitened": Lambda(lambda x: (x - x.mean()) / x.std() + x.var((2, 3), keepdim=True)),
    "normed": Lambda(lambda x: F.normalize(x.flatten(1)).view(x.shape)),
    "linear attention": Lambda(
        lambda x: ((x.flatten(2) @ x.flatten(2).mT * 2).softmax(-1) @ x.flatten(2)).view(x.shape)
    ),
    "attention": Lambda(lambda x, a, k: attended(a(x), k(x)), a=nn.Conv2d(3, 3, 3, padding=1), k=nn.Conv2d(3, 3, 4, 4)),
    "classifier": nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    "ours": nn.Sequential(tc.nn.GridPool2d((2, 2), "l2"), nn.Flatten(), nn.Linear(12, 2)),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_gathered_in_passes_before(name):
    model = STATISTICS[name]
    check(model, IMAGE + 3, (5, 7), statistics="two-pass")
    with pytest.raises(UnsupportedError, match=r"statistics=.two-pass"):
        TiledModel(model, IMAGE.shape, 5)


def test_statistics_that_need_each_other_take_a_pass_each():
    model = STATISTICS["instance"]
    tiled = TiledModel(model, IMAGE.shape, 8, statistics="two-pass")
    assert tiled.passes == 3
    with pytest.raises(UnsupportedError, match="0 of 2 passes"):
        tiled.compute(tiled.tiles[0], lambda box: IMAGE[box])
    with pytest.raises(UnsupportedError, match="pass 1, after 0"):
        tiled.accumulate(1, 0, lambda box: IMAGE[box])


def test_statistics_are_exact_where_single_precision_is_not():
    x = torch.randn(1, 1, 64, 64) * 1e-2 + 1000
    tiled = in_tiles(nn.InstanceNorm2d(1), x, 9, statistics="two-pass")
    exact = F.instance_norm(x.double())
    assert float((tiled - exact).abs().max()) < 2e-2  # what rounding 1000 costs


WHOLE = {
    "a token beside": (Lambda(lambda x: torch.cat([x.new_ones(1, 1, 3), x.flatten(2).mT], 1)), "joins places"),
    "every place": (nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 32, 5)), "1"),
    "moved": (Lambda(lambda x: x.roll(1, 2)), "roll"),
    "turned": (Lambda(lambda x: x.flip(3)), "flip"),
    "around": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), "circular"),
    "places by places": (Lambda(lambda x: x[..., :24] @ x[..., :24]), "every output reads all places"),
    "summed up": (Lambda(lambda x: x.cumsum(2)), "cumsum"),
    "unshared": (tc.nn.LocallyConnected2d(3, 4, 3, input_size=(24, 32)), "place to place"),
    "by chance": (Lambda(lambda x: x + torch.randn_like(x)), "by chance"),
    "where": (Lambda(lambda x: F.max_pool2d(x, 2, return_indices=True)[1].float()), "largest number"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("statistics", [None, "two-pass"])
def test_what_needs_the_whole_image_is_refused_by_name(name, statistics):
    model, said = WHOLE[name]
    with pytest.raises(UnsupportedError) as caught:
        TiledModel(model, EVEN.shape, 8, statistics=statistics)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_layer_that_needs_a_pass_is_named():
    with pytest.raises(UnsupportedError, match=r"1 \(batch_norm.*3 \(batch_norm.*2 passes"):
        TiledModel(STATISTICS["instance"], IMAGE.shape, 8)


class Net(nn.Module):
    """Layers drawn at random, with a skip that is cut or resized to what it meets."""

    def __init__(self, draw):
        super().__init__()
        self.layers = nn.ModuleList()
        channels, self.skips = 2, draw(st.booleans())
        for _ in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(["conv", "conv", "pool", "mean", "up", "transposed", "resize"]))
            kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
            padding, dilation = draw(st.integers(0, kernel // 2)), draw(st.integers(1, 2))
            ceil = draw(st.booleans())
            if kind == "conv":
                mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate"]))
                layer = nn.Conv2d(channels, 3, kernel, stride, padding, dilation, padding_mode=mode)
                channels = 3
            elif kind == "pool":
                layer = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
            elif kind == "mean":
                layer = nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()))
            elif kind == "up":
                mode = draw(st.sampled_from(["nearest", "bilinear", "bicubic"]))
                layer = nn.Upsample(scale_factor=draw(st.sampled_from([2, 1.5, 3])), mode=mode)
            elif kind == "transposed":
                more = draw(st.integers(0, max(stride, dilation) - 1))
                layer = nn.ConvTranspose2d(channels, 2, kernel, stride, padding, more, dilation=dilation)
                channels = 2
            else:
                size, corners = draw(st.tuples(st.integers(3, 20), st.integers(3, 20))), draw(st.booleans())
                layer = nn.Upsample(size=size, mode="bilinear", align_corners=corners)
            self.layers.append(layer)

    def forward(self, x):
        first = x
        for layer in self.layers:
            x = torch.relu(layer(x))
        if self.skips:
            first = F.interpolate(first, x.shape[2:], mode="bilinear", align_corners=False)
            x = torch.cat([x, first], 1)
        return x


@settings(max_examples=60)
@given(st.data())
def test_random_networks_in_tiles_are_the_whole(data):
    torch.manual_seed(data.draw(st.integers(0, 100)))
    model = Net(data.draw)
    x = torch.randn(data.draw(st.integers(1, 2)), 2, data.draw(st.integers(6, 17)), data.draw(st.integers(6, 17)))
    try:
        with torch.no_grad():
            model(x)
    except RuntimeError:  # too small for its layers
        return
    check(model, x, (data.draw(st.integers(1, 9)), data.draw(st.integers(3, 20))))


def test_large_blocks_are_computed_in_strips(monkeypatch):
    monkeypatch.setattr(windows, "STRIP", 2**10)
    for name in ("same", "strided", "transposed", "reflect", "max", "mean of data", "ours", "volume"):
        model, x = LOCAL[name]
        check(model, x, 17)


class UNet(nn.Module):
    """Ronneberger et al. 2015, with padding, of four levels."""

    def __init__(self, channels=4, levels=4):
        super().__init__()

        def block(inputs, outputs):
            convs = [nn.Conv2d(n, outputs, 3, padding=1) for n in (inputs, outputs)]
            return nn.Sequential(convs[0], nn.BatchNorm2d(outputs), nn.ReLU(True), convs[1], nn.ReLU(True))

        widths = [channels * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(map(block, [3, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in widths[:-1])
        self.joined = nn.ModuleList(block(2 * n, n) for n in widths[:-1])
        self.last = nn.Conv2d(channels, 2, 1)

    def forward(self, x):
        kept = []
        for number, block in enumerate(self.down):
            x = block(x if not number else F.max_pool2d(x, 2))
            kept.append(x)
        for number in reversed(range(len(self.up))):
            x = self.joined[number](torch.cat([kept[number], self.up[number](x)], 1))
        return self.last(x)


def test_a_unet_of_a_huge_image_costs_little_more_in_tiles():
    tiled = TiledModel(UNet(64), (1, 3, 20_000, 20_000), 1024)
    assert len(tiled.tiles) == 400
    inner = tiled.tiles[21]
    share = torch.Size([one.stop - one.start for one in inner]).numel() / torch.Size(tiled.output_shape).numel()
    assert 1 < tiled.macs(inner) / tiled.whole_macs / share < 1.25
    assert [one.stop - one.start for one in tiled.input_box(inner)[2:]] == [1024 + 188] * 2
    assert tiled.workspace_bytes(inner) < 2e9
    x = torch.randn(1, 3, 96, 112)
    check(UNet(), x, 48)


def test_several_outputs_one_is_chosen():
    model = Lambda(lambda x: {"labels": x.argmax(1), "more": [x * 2, x.mean()]})
    with pytest.raises(SettingError, match=r"labels, more\.0, more\.1"):
        TiledModel(model, IMAGE.shape, 8)
    assert TiledModel(model, IMAGE.shape, 8, output="more.0").output_shape == IMAGE.shape
    assert TiledModel(model, IMAGE.shape, 8, output=0).output_dtype == torch.int64
    with pytest.raises(SettingError, match="'other'"):
        TiledModel(model, IMAGE.shape, 8, output="other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tile": 0}, "tile: got 0"),
        ({"tile": (4, 4, 4)}, "one for each of 2 axes"),
        ({"statistics": "three"}, "'three'"),
        ({"input_shape": (3, 8)}, "input_shape"),
        ({"input_shape": (1, 4, 8, 8)}, "layer  of|Conv2d"),
    ],
)
def test_what_cannot_be_asked_for_has_one_line(change, said):
    request = {"input_shape": (1, 3, 8, 8), "tile": 4} | change
    with pytest.raises(tc.TorchconvError, match=said) as caught:
        TiledModel(nn.Conv2d(3, 4, 3), **request)
    assert "\n" not in str(caught.value)


def test_the_model_is_left_alone_and_may_train():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    model.train()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    tiled = TiledModel(model, IMAGE.shape, 8)
    part = tiled.compute(tiled.tiles[0], lambda box: IMAGE[box])
    assert model.training
    assert not part.requires_grad
    assert all(torch.equal(before[key], one) for key, one in model.state_dict().items())


def test_what_tiles_of_a_pass_read_is_planned_once():
    """Each tile asks for its own box; a new list for each would cost the square of their number."""
    model = TiledModel(nn.InstanceNorm2d(2), (1, 2, 8, 8), 2, statistics="two-pass")
    assert len(model.statistics_boxes(0)) == 16
    assert model.statistics_boxes(0) is model.statistics_boxes(0)


def test_a_model_that_calls_something_else_is_another_one():
    """Weights and modules alone do not tell: attributes, code, buffers that are not kept and constants do."""

    class Scaled(nn.Module):
        def __init__(self, by, buffer, constant, root=False):
            super().__init__()
            self.conv, self.by, self.root, self.constant = nn.Conv2d(1, 1, 3), by, root, torch.tensor(constant)
            self.register_buffer("level", torch.tensor(buffer), persistent=False)

        def forward(self, x):
            y = self.conv(x) * self.by + self.level - self.constant
            return y.exp() if self.root else y

    first = Scaled(1.0, 2.0, 3.0)
    others = [Scaled(4.0, 2.0, 3.0), Scaled(1.0, 4.0, 3.0), Scaled(1.0, 2.0, 4.0), Scaled(1.0, 2.0, 3.0, root=True)]
    for other in others:
        other.load_state_dict(first.state_dict())
    digests = [
        TileWork(one, (1, 1, 9, 9), torch.float32, (4, 4)).digest() for one in (first, copy.deepcopy(first), *others)
    ]
    assert digests[0] == digests[1]
    assert len({*digests}) == 1 + len(others)
