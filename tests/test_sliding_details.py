"""Classifiers that slide: last windows of pools, layers that are used twice, parametrisations, norms of vectors."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import torchconv as tc
from torchconv.errors import UnsupportedError


class Calls(nn.Module):
    """A function, then scores."""

    def __init__(self, call, features: int) -> None:
        super().__init__()
        self.call, self.fc = call, nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.call(x).flatten(1))


POOLS = {
    "torch, max": nn.MaxPool2d(2, ceil_mode=True),
    "torch, max, dilated": nn.MaxPool2d((2, 3), 2, (1, 0), dilation=(2, 1), ceil_mode=True),
    "torch, mean": nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "ours, max": tc.nn.Pool2d(2, ceil_mode=True),
    "ours, learned": tc.nn.LearnedPool2d(3, 2, ceil_mode=True),
    "function, max": lambda x: functional.max_pool2d(x, 2, ceil_mode=True),
    "function, max, by places": lambda x: functional.max_pool2d(x, (2, 3), 2, (1, 0), (2, 1), True),
    "function, mean": lambda x: functional.avg_pool2d(x, 3, 2, 1, True, False),
}


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("name", POOLS)
def test_no_window_ends_outside_the_image(name, length):
    """With ceil_mode too there are as many positions as windows fit, whatever is left of the image behind the last."""
    torch.manual_seed(0)
    model = Calls(POOLS[name], POOLS[name](torch.zeros(1, 2, length, length))[0].numel()).eval()
    sliding, part = tc.as_convolution(model, (2, length, length)), torch.randn(1, 2, length, length)
    assert torch.allclose(sliding(part).flatten(1), model(part), atol=1e-5)
    for more in itertools.product(range(4), repeat=2):
        scores = sliding(torch.zeros(1, 2, length + more[0], length + more[1]))
        assert scores.shape[2:] == tuple(extra // 2 + 1 for extra in more)


def test_windows_that_ceil_mode_does_not_cut_are_exact():
    """8 samples are whole windows of 2: crops have nothing outside, and an image of 11 has 2 windows, not 3."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(32, 3)).double().eval()
    image = torch.randn(1, 2, 11, 13, dtype=torch.float64)
    scores = tc.as_convolution(model, (2, 8, 8))(image)
    assert scores.shape == (1, 3, 2, 3)
    for y, x in itertools.product(range(2), range(3)):
        crop = image[..., 2 * y : 2 * y + 8, 2 * x : 2 * x + 8]
        assert torch.allclose(scores[..., y, x], model(crop), rtol=0, atol=1e-12)


def test_a_linear_that_is_used_twice_stays_one():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), shared, nn.ReLU(), shared).double()
    sliding, part = tc.as_convolution(model, (2, 2, 2)), torch.randn(3, 2, 2, 2, dtype=torch.float64)
    assert sliding[2] is sliding[4]
    for one in (model, sliding):
        one(part).square().sum().backward()
    gradients = [
        (mine.grad, theirs.grad) for mine, theirs in zip(sliding.parameters(), model.parameters(), strict=True)
    ]
    assert len(gradients) == 4
    assert all(torch.allclose(mine.flatten(), theirs.flatten(), atol=1e-12) for mine, theirs in gradients)
    with pytest.raises(UnsupportedError, match="volumes of different sizes"):
        tc.as_convolution(nn.Sequential(nn.Flatten(), shared, shared), (1, 2, 2))


def test_a_layer_whose_padding_depends_on_the_size_may_be_used_on_two():
    """ "same" with a stride of 2 pads 15 samples at both sides, 8 at one: each use keeps its own."""
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self, layer: nn.Module, features: int) -> None:
            super().__init__()
            self.layer, self.fc = layer, nn.Linear(features, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.layer(self.layer(x)).flatten(1))

    for layer in (tc.nn.Conv2d(2, 2, 3, 2, "same"), tc.nn.Pool2d(3, 2, "same"), nn.MaxPool2d(2, ceil_mode=True)):
        model, image = Twice(layer, 32).eval(), torch.randn(1, 2, 15, 15)
        sliding = tc.as_convolution(model, (2, 15, 15))
        assert torch.allclose(sliding(image).flatten(1), model(image), atol=1e-6)
        assert sliding(torch.zeros(1, 2, 19, 22)).shape == (1, 3, 2, 2)
    with pytest.raises(UnsupportedError, match="volumes of different sizes"):
        tc.as_convolution(Twice(tc.nn.LearnedPool2d(3, 2, "same"), 32), (2, 15, 15))
    pool = nn.MaxPool2d(2, ceil_mode=True)
    model, image = nn.Sequential(pool, pool, nn.Flatten(), nn.Linear(32, 3)), torch.randn(1, 2, 15, 13)
    assert torch.allclose(tc.as_convolution(model, (2, 15, 13))(image).flatten(1), model(image), atol=1e-6)


def test_parametrised_weights_are_not_lost_in_silence():
    """They are computed anew at every call, from the parameters of the parametrisation."""
    for layer, volume in [(nn.Linear(4, 3), 4), (nn.Linear(16, 3), (1, 4, 4)), (nn.Conv2d(1, 2, 3), (1, 4, 4))]:
        model = nn.utils.parametrizations.weight_norm(layer)
        sliding, flat = tc.as_convolution(model, volume), isinstance(layer, nn.Linear)
        assert nn.utils.parametrize.is_parametrized(sliding)
        assert [*sliding.state_dict()] == [*model.state_dict()]
        image = torch.randn(2, *((4, 1, 1) if volume == 4 else volume))
        expected = model(image.flatten(1) if flat else image)
        assert torch.allclose(sliding(image).flatten(1), expected.flatten(1), atol=1e-6)
        sliding(image).sum().backward()
        assert all(one.grad is not None for one in sliding.parameters())


def test_layer_norm_of_scores_in_a_text():
    """NORM[layer] behind FC takes the features of one window only; before it, all places."""
    torch.manual_seed(0)
    text = "CONV[4, 3x3, valid] - RELU - FC[6] - NORM[layer] - RELU - FC"
    model = tc.build(text, input=(1, 6, 6)).double().eval()
    nn.init.normal_(model.norm1.weight)
    image = torch.randn(2, 1, 7, 8, dtype=torch.float64)
    scores = tc.as_convolution(model, (1, 6, 6))(image)
    for y, x in itertools.product(range(2), range(3)):
        assert torch.allclose(scores[..., y, x], model(image[..., y : y + 6, x : x + 6]), rtol=0, atol=1e-12)
    for layer in (nn.GroupNorm(2, 4), nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(1, 4))):
        with pytest.raises(UnsupportedError, match="over places"):
            tc.as_convolution(layer, (4, 3, 3))


def test_axes_may_be_counted_from_the_end():
    model = nn.Sequential(nn.Flatten(-3, -1), nn.Linear(8, 3))
    assert tc.as_convolution(model, (2, 2, 2))(torch.zeros(1, 2, 4, 3)).shape == (1, 3, 3, 2)
