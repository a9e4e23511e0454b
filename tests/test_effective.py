"""The effective receptive field against what theory says of it: Luo et al. 2016, section 3."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import torchconv as tc


def uniform(layers, kernel, padding, axes=2):
    kind = (nn.Conv1d, nn.Conv2d)[axes - 1]
    layer = kind(1, 1, kernel, padding=padding, bias=False).double()
    nn.init.ones_(layer.weight)
    return nn.Sequential(*[layer] * layers)


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (2, 5), (5, 3), (10, 3), (20, 2)])
def test_uniform_weights_give_the_kernel_folded_with_itself(layers, kernel):
    """Section 3.1; of kernel 2 these are the binomial coefficients."""
    size = layers * (kernel - 1) + 1
    profile = np.ones(1)
    for _ in range(layers):
        profile = np.convolve(profile, np.ones(kernel))
    found = tc.effective_field(uniform(layers, kernel, 0), (1, size, size), samples=2)
    assert torch.equal(found.map, torch.from_numpy(np.outer(profile, profile)))
    sigma = (layers * (kernel**2 - 1) / 12) ** 0.5
    assert found.gaussian_sigma == pytest.approx((sigma, sigma), rel=1e-12)
    assert found.centre == pytest.approx(((size - 1) / 2,) * 2)


def test_sigma_grows_like_the_root_of_the_depth():
    sigmas = [tc.effective_field(uniform(n, 3, 1, 1), (1, 201), samples=1).gaussian_sigma[0] for n in (4, 16, 64)]
    assert sigmas[1] / sigmas[0] == pytest.approx(2, rel=1e-9)
    assert sigmas[2] / sigmas[1] == pytest.approx(2, rel=1e-9)


def test_size_holds_the_share():
    found = tc.effective_field(uniform(40, 3, 1), (1, 81, 81), samples=1, theoretical=(81, 81))
    mass = found.map.sum(0) / found.map.sum()
    length = found.size()[0]
    low = (81 - length) // 2
    assert mass[low : low + length].sum() >= 0.9545 > mass[low + 1 : low + length - 1].sum()
    assert length == pytest.approx(4 * found.gaussian_sigma[0], abs=1.5)  # a Gaussian's two sigma on both sides
    assert found.size(1.0)[0] <= 81
    around = (2 * np.pi * np.log(1 / 0.0455)) ** 0.5 * found.gaussian_sigma[0]  # the root of a Gaussian's area
    assert found.side == pytest.approx(around, rel=0.02)
    assert found.part == pytest.approx((length / 81) ** 2)
    assert found.part < 0.25


def test_random_weights_and_rectifiers_stay_inside_the_theoretical_field():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2), nn.ReLU())
    box = tc.receptive_field(model, (3, 21, 21)).of((2, 5))
    found = tc.effective_field(model, (3, 21, 21), (2, 5), samples=20, theoretical=box.size)
    touched = torch.zeros(21, 21, dtype=torch.bool)
    touched[box.first[0] : box.last[0] + 1, box.first[1] : box.last[1] + 1] = True
    assert torch.equal(found.map > 0, touched)
    assert found.unit == (2, 5)


def test_vectors_other_ranks_and_functions():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    found = tc.effective_field(model, (1, 6, 6))
    assert found.unit == ()
    assert (found.map > 0).all()
    assert tc.effective_field(torch.relu, (2, 9), (3,)).size() == (1,)
    assert tc.effective_field(nn.Conv3d(1, 1, 3), (1, 5, 5, 5)).map.shape == (5, 5, 5)


def test_the_model_and_chance_are_left_as_they_were():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[0].weight.requires_grad_(False)
    before, chance = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with torch.no_grad():
        first = tc.effective_field(model, (1, 9, 9), samples=10)
        assert not torch.is_grad_enabled()
    assert torch.equal(chance, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(one.training for one in model.modules())
    assert not model[0].weight.requires_grad
    assert all(one.grad is None for one in model.parameters())
    assert torch.equal(first.map, tc.effective_field(model, (1, 9, 9), samples=10).map)


def test_it_shows():
    found = tc.effective_field(uniform(2, 3, 0), (1, 5, 5), samples=1, theoretical=(5, 5))
    assert str(found).startswith("effective field 5x5 (95.45 % of the mass on each axis), sigma 1.15 x 1.15 samples")
    assert str(found).endswith("100.0% of the theoretical 5x5")
    assert json.loads(json.dumps(found.to_dict()))["size"] == [5, 5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"input_shape": (5,)}, "channels"),
        ({"input_shape": (2, 5, 5)}, "Conv2d"),
        ({"input_shape": (1, 5, 0)}, "integers >= 1"),
        ({"unit": (3, 0)}, r"size \(3, 3\)"),
        ({"unit": (1,)}, "a place"),
        ({"samples": 0}, "integer >= 1"),
        ({"theoretical": (3,)}, "2 axes"),
    ],
)
def test_bad_requests_are_refused(arguments, said):
    with pytest.raises(tc.TorchconvError, match=said):
        tc.effective_field(nn.Conv2d(1, 1, 3), **({"input_shape": (1, 5, 5)} | arguments))


def test_units_that_depend_on_nothing_are_refused():
    with pytest.raises(tc.TorchconvError, match="depends on the input"):
        tc.effective_field(lambda x: x * 0, (1, 5))
    with pytest.raises(tc.TorchconvError, match="has a gradient"):
        tc.effective_field(lambda x: x.detach(), (1, 5))
    with pytest.raises(tc.TorchconvError, match="share of the mass"):
        tc.effective_field(nn.Identity(), (1, 5)).size(0)


def test_names_in_the_zoo_texts_and_networks_are_built_with_the_same_weights():
    text = "INPUT - CONV[4] - RELU - POOL - CONV[4]"
    one, two = (
        tc.effective_field(text, (1, 16, 16), samples=2),
        tc.effective_field(tc.parse(text), (1, 16, 16), samples=2),
    )
    assert torch.equal(one.map, two.map)
    assert tc.effective_field("lenet5", (1, 32, 32), samples=1).map.shape == (32, 32)
    state = torch.get_rng_state()
    found = tc.equivariance(text, torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)), shift=2)
    assert (found.equivariant, found.model) == (True, text)
    assert torch.equal(state, torch.get_rng_state())
