"""Forwards of any kind that slide: what models of other people do between their layers."""

import copy
import io
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchconv as tc
from test_sliding import check, settled
from torchconv.convert.sliding.sliding_model import SlidingModel
from torchconv.errors import UnsupportedError


class Model(nn.Module):
    """A convolution of a stride of 2 to 4 channels on 5x5 places of 11x11 samples, a function, scores."""

    def __init__(self, call, features: int, **layers: nn.Module) -> None:
        super().__init__()
        self.call, self.conv, self.fc = call, nn.Conv2d(2, 4, 3, 2), nn.Linear(features, 3)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.call(self, self.conv(x)))


class ActivatedNorm(nn.BatchNorm2d):
    """As timm has it: a forward of its own, and an activation within."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(x.shape)
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.relu_(F.batch_norm(x, *statistics, self.training, self.momentum or 0.0, self.eps))


class Mixture(nn.Module):
    """A dictionary of answers, as transformers give it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(lambda m, x: x.mean((2, 3)), 4)

    def forward(self, pixel_values=None, labels=None, return_dict=True):
        return OrderedDict(logits=self.model(pixel_values), loss=None)


def tokens(m: Model, x: Tensor) -> Tensor:
    """Places as a sequence, channels last, normalised, mixed, added to, and back."""
    batch, channels, height, width = x.shape
    sequence = x.flatten(2).transpose(1, 2)
    sequence = sequence + m.mix(m.norm(sequence)) * m.scale
    return sequence.transpose(1, 2).reshape(batch, channels, height, width).flatten(1)


def shuffled(m: Model, x: Tensor) -> Tensor:
    """Channels in halves, one of which is changed, then in turns (ShuffleNet V2)."""
    one, other = x.chunk(2, dim=1)
    x = torch.cat([one, other.relu()], 1)
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
    return torch.flatten(x, 1)


def norm_first(m: Model, x: Tensor) -> Tensor:
    """LayerNorm over channels that come first, by hand (ConvNeXt)."""
    mean = x.mean(1, keepdim=True)
    var, _ = torch.var_mean(x, 1, keepdim=True, correction=0)
    return (((x - mean) / torch.sqrt(var + 1e-6)) * m.scale[:, None, None]).flatten(1)


def dense(m: Model, x: Tensor) -> Tensor:
    """Every layer reads all before it (DenseNet)."""
    features = [x]
    for layer in (m.one, m.two):
        features.append(layer(torch.cat(features, 1)))
    return torch.cat(features, 1).amax((2, 3))


def split(m: Model, x: Tensor) -> Tensor:
    """Parts of the channels through one convolution after another (Res2Net), stacked and summed up."""
    first, second, third = torch.split(x, [1, 1, 2], 1)
    second = second + first.relu()
    parts = torch.stack([first, second, third[:, 0:1], third[:, 1].unsqueeze(1)], 0)
    return parts.sum(0).flatten(1)


def across(m: Model, x: Tensor) -> Tensor:
    """The places in another order than the weights have them: channels last."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


scale = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 3.0]))
FORWARDS = {
    "norm with an activation": lambda: Model(lambda m, x: m.norm(x).flatten(1), 100, norm=ActivatedNorm(4)),
    "tokens": lambda: with_scale(Model(tokens, 100, norm=nn.LayerNorm(4), mix=nn.Linear(4, 4))),
    "channel shuffle": lambda: Model(shuffled, 100),
    "torch's channel shuffle": lambda: Model(lambda m, x: m.mix(x).flatten(1), 100, mix=nn.ChannelShuffle(2)),
    "norm of channels in front": lambda: with_scale(Model(norm_first, 100)),
    "dense block": lambda: Model(dense, 7, one=nn.Conv2d(4, 1, 1), two=nn.Conv2d(5, 2, 1)),
    "split and stacked": lambda: Model(split, 25),
    "channels last": lambda: Model(across, 100),
    "mean over tokens": lambda: Model(lambda m, x: x.flatten(2).transpose(1, 2).mean(1), 4),
    "sum, then norm": lambda: Model(lambda m, x: F.layer_norm(x.sum((-2, -1)), (4,)), 4),
    "places one axis after the other": lambda: Model(lambda m, x: x.mean(3).amax(2), 4),
    "pooled, as tokens": lambda: Model(lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(2).squeeze(-1), 4),
    "selected": lambda: Model(lambda m, x: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0], 4),
    "chosen channels": lambda: Model(lambda m, x: x[:, [2, 0, 1]].flatten(1), 75),
    "a slope for each channel": lambda: Model(lambda m, x: m.act(x).flatten(1), 100, act=nn.PReLU(4)),
    "axes in another order": lambda: Model(lambda m, x: x.transpose(2, 3).flatten(1), 100),
    "differences": lambda: Model(lambda m, x: (x[..., 1:] - x[..., :-1]).flatten(1), 80),
    "maximum over channels": lambda: Model(lambda m, x: (x * x.softmax(1)).max(dim=1)[0].flatten(1), 25),
    "global response of one place": lambda: Model(
        lambda m, x: (lambda y: y * y.mean((2, 3), keepdim=True).sigmoid())(F.avg_pool2d(x, 5, 1)).flatten(1), 4
    ),
    "matrix": lambda: with_scale(Model(lambda m, x: x.mean((2, 3)) @ m.scale.diag(), 4)),
    "p-norm": lambda: Model(lambda m, x: torch.linalg.vector_norm(x, 2, dim=(2, 3)), 4),
    "two readers of one layer": lambda: Model(lambda m, x: m.mix(m.mix(x.mean((2, 3)))), 4, mix=nn.Linear(4, 4)),
}


def with_scale(model: Model) -> Model:
    model.scale = nn.Parameter(scale.detach().clone())
    return model


@pytest.mark.parametrize("name", FORWARDS)
def test_every_window_has_the_scores_of_its_crop(name):
    torch.manual_seed(0)
    check(FORWARDS[name](), (2, 11, 11), (15, 14), (2, 2))


def test_every_other_place():
    """Parts of places that are as far apart everywhere are windows of one sample (YOLO's focus layer)."""
    torch.manual_seed(0)
    parts = (slice(0, None, 2), slice(1, None, 2))

    class Focus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16 * 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.cat([x[..., one, other] for one in parts for other in parts], 1).flatten(1))

    check(Focus(), (1, 8, 8), (13, 12), (2, 2))


def test_up_sampling_between_is_undone():
    """Behind up-sampling, windows lie as far apart as the coarse places do (HRNet)."""
    torch.manual_seed(0)

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 2, 2)
            self.up, self.fc = nn.ConvTranspose2d(2, 2, 2, 2), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            coarse = self.coarse(x)
            x = self.fine(x) + F.interpolate(coarse, scale_factor=2) + self.up(coarse)
            return self.fc(x.relu().mean((2, 3)))

    sliding = check(Fused(), (1, 8, 8), (12, 10), (2, 2))
    assert sliding(torch.zeros(1, 1, 13, 11).double()).shape == (1, 3, 3, 2), "no window ends outside"


def test_branches_that_end_at_different_places_meet_where_both_are():
    """A stride of 2 by padded windows and by windows without: as many places at even sizes, one more at odd ones."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.fc = nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(1, 2, 2, 2), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((self.one(x) + self.other(x)).mean((2, 3)))

    sliding = tc.as_convolution(Branches(), (1, 8, 8))
    for more in range(5):
        assert sliding(torch.zeros(1, 1, 8 + more, 12 - more)).shape[2:] == (more // 2 + 1, (4 - more) // 2 + 1)


def test_what_is_computed_in_place_changes_nothing_else():
    """The model makes a copy first, which the sliding model has no need of."""
    torch.manual_seed(0)

    def copied(m: Model, x: Tensor) -> Tensor:
        return (m.act(x.clone()) + x).flatten(1)

    for act in (nn.ReLU(inplace=True), nn.Dropout(inplace=True)):
        sliding = check(Model(copied, 100, act=act), (2, 11, 11), (13, 12), (2, 2))
        image = torch.randn(1, 2, 11, 11).double()
        before = image.clone()
        sliding.train()(image)
        assert torch.equal(image, before)


def test_norms_learn_while_training():
    """A batch normalisation inside a forward of its own takes the statistics of the batch, as train() says."""
    torch.manual_seed(0)
    model = settled(FORWARDS["norm with an activation"]())
    sliding, image = tc.as_convolution(model, (2, 11, 11)), torch.randn(4, 2, 11, 11).double()
    for one in (model, sliding):
        one.train()
    torch.testing.assert_close(sliding(image).flatten(1), model(image))
    torch.testing.assert_close(sliding.norm.running_var, model.norm.running_var)
    sliding.norm.eval()
    before = sliding.norm.running_var.clone()
    sliding(image)
    assert torch.equal(sliding.norm.running_var, before)


def test_dropout_of_any_kind_follows_train_and_eval():
    for kind in ("dropout", "dropout2d", "alpha_dropout"):
        model = Model(lambda m, x, kind=kind: getattr(F, kind)(x, 0.5, m.training).flatten(1), 100)
        sliding, image = tc.as_convolution(model, (2, 11, 11)), torch.randn(1, 2, 13, 11)
        assert not torch.equal(sliding(image), sliding(image))
        assert torch.equal(sliding.eval()(image), sliding(image))


def test_parameters_of_models_with_a_forward_keep_names_and_classes():
    model = FORWARDS["tokens"]()
    model.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    sliding = tc.as_convolution(model, (2, 11, 11))
    assert isinstance(sliding, SlidingModel)
    assert [*sliding.state_dict()] == [*model.state_dict()]
    assert {name: one.requires_grad for name, one in sliding.named_parameters()} == {
        name: one.requires_grad for name, one in model.named_parameters()
    }
    assert isinstance(sliding.norm, nn.LayerNorm)
    assert isinstance(sliding.fc, tc.nn.conv.Conv)
    assert sliding.conv.weight.data_ptr() != model.conv.weight.data_ptr()


def test_answers_in_a_dictionary_and_other_arguments():
    torch.manual_seed(0)
    model = settled(Mixture())
    sliding, image = tc.as_convolution(model, (2, 11, 11)), torch.randn(2, 2, 15, 13).double()
    expected = model(image[..., 2:13, :11])["logits"]
    torch.testing.assert_close(sliding(image)[..., 1, 0], expected)


@pytest.mark.parametrize("name", ["tokens", "channel shuffle", "norm with an activation", "dense block"])
def test_a_sliding_model_is_an_ordinary_module(name):
    torch.manual_seed(0)
    sliding, image = tc.as_convolution(settled(FORWARDS[name](), torch.float32), (2, 11, 11)), torch.randn(1, 2, 15, 13)
    expected = sliding(image)
    assert torch.equal(copy.deepcopy(sliding)(image), expected)
    saved = io.BytesIO()
    torch.save(sliding, saved)
    saved.seek(0)
    assert torch.equal(torch.load(saved, weights_only=False)(image), expected)
    sizes = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(sliding, (image.repeat(2, 1, 1, 1),), dynamic_shapes=(sizes,)).module()
    larger = torch.randn(3, 2, 19, 22)
    torch.testing.assert_close(program(larger), sliding(larger))
    assert sliding.to("meta")(image.to("meta")).shape == expected.shape


def test_the_numbers_of_its_layers_are_told():
    """Layers that stay are called as layers: whoever looks at the model sees their names."""
    sliding = tc.as_convolution(FORWARDS["tokens"](), (2, 11, 11))
    assert {"conv", "mix", "fc"} <= {row.name for row in tc.inspect(sliding, (2, 15, 15)).rows}


class Attention(nn.Module):
    """Every place reads all others."""

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(sequence, sequence, sequence).mean(1)


class Embedded(nn.Module):
    """A number for each place."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 25, 4))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(2).transpose(1, 2) + self.positions).mean(1)


class ClassToken(nn.Module):
    """A sequence with one more in front."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), sequence], 1).mean(1)


class Excitation(nn.Module):
    """Channels times what all places say of them (squeeze and excitation)."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()).mean((2, 3))


class Called(nn.Module):
    """A function as a layer."""

    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


REFUSED = {
    "attention": (Attention(), "attention"),
    "position embeddings": (Embedded(), "numbers differ from place to place"),
    "class token": (ClassToken(), "class token"),
    "squeeze and excitation": (Excitation(), r"over all places of a window \(by head\)"),
    "expanded": (Called(lambda x: (x.mean((2, 3), keepdim=True).expand_as(x) - x).sum((2, 3))), "over all places"),
    "group norm": (Called(lambda x: F.group_norm(x, 2).mean((2, 3))), "mean and variance are taken over places"),
    "standardised": (
        Called(lambda x: ((x - x.mean(3, keepdim=True)) / x.std(3, keepdim=True)).mean((2, 3))),
        "over all places",
    ),
    "instance norm": (Called(lambda x: F.instance_norm(x).mean((2, 3))), "mean and variance are taken over places"),
    "rolled": (Called(lambda x: (x.roll(1, 3) + x).mean((2, 3))), "roll"),
    "flipped": (Called(lambda x: (x.flip(3) + x).mean((2, 3))), "differs from place to place"),
    "running sum": (Called(lambda x: x.cumsum(3).mean((2, 3))), "over places"),
    "enlarged to a size": (Called(lambda x: F.interpolate(x, size=(7, 7)).mean((2, 3))), "no multiple"),
    "products of places": (Called(lambda x: (x @ x.transpose(2, 3)).mean((2, 3))), "attention"),
    "transposed sum": (Called(lambda x: (x + x.transpose(2, 3)).mean((2, 3))), "in another order"),
    "centre": (Called(lambda x: x[:, :, 2, 2]), "over places"),
    "sampled": (Called(lambda x: F.grid_sample(x, torch.zeros(len(x), 2, 2, 2)).mean((2, 3))), "differs from place"),
    "places by channels": (Called(lambda x: x.mean(1).flatten(1).softmax(1)[:, :4]), "over places"),
    "with coordinates": (
        Called(lambda x: torch.cat([x[:, :3], torch.linspace(0, 1, 5).expand(len(x), 1, 5, 5)], 1).mean((2, 3))),
        "does not follow from the image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_the_whole_image_is_refused_by_name(name):
    layer, reason = REFUSED[name]
    model = nn.Sequential(OrderedDict(stem=nn.Conv2d(2, 4, 3, 2), head=layer, fc=nn.Linear(4, 3)))
    with pytest.raises(UnsupportedError, match=rf"layer head, {type(layer).__name__}: .*{reason}"):
        tc.as_convolution(model, (2, 11, 11))
