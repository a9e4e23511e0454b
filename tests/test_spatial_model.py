"""The spatial model: exact marginals of trees, the paper's one round, and figures whose parts look alike."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest
import torch
from scipy.signal import convolve
from torch import Tensor, nn

import figures
from torchconv.errors import DataError, SettingError, ShapeError
from torchconv.segmentation import SpatialModel


def drawn(parts: int, size: tuple[int, ...], batch: int = 2) -> Tensor:
    heat = torch.rand(batch, parts, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return heat.square() * 3


def random_model(*arguments, **settings) -> SpatialModel:
    torch.manual_seed(0)
    model = SpatialModel(*arguments, **{"floor": 0, "background": 0.02, **settings}).double()
    model.raw_prior.data = torch.randn_like(model.raw_prior)
    model.raw_background.data += torch.rand_like(model.raw_background)
    return model


def marginals(model: SpatialModel, heat: Tensor) -> np.ndarray:
    """By the sum over all states of all parts: (batch, parts, *size)."""
    size = heat.shape[2:]
    places = list(product(*map(range, size)))
    background = torch.nn.functional.softplus(model.raw_background, model.beta).tolist()
    radius = [kernel // 2 for kernel in model.kernel_size]
    result = []
    for image in heat.flatten(2).tolist():
        found = np.zeros((model.parts, len(places)))
        tables = []
        for number, (a, b) in enumerate(model.edges):
            prior = model.conditional(b, a)
            table = np.full((len(places), len(places)), background[number])
            for i, p in enumerate(places):
                for j, q in enumerate(places):
                    cell = tuple(y - x + r for x, y, r in zip(p, q, radius, strict=True))
                    if all(0 <= c < kernel for c, kernel in zip(cell, model.kernel_size, strict=True)):
                        table[i, j] += prior[cell].item()
            tables.append((a, b, table))
        for state in product(range(len(places)), repeat=model.parts):
            weight = np.prod([image[part][place] for part, place in enumerate(state)])
            weight *= np.prod([table[state[a], state[b]] for a, b, table in tables])
            for part, place in enumerate(state):
                found[part, place] += weight
        result.append((found / found.sum(1, keepdims=True)).reshape(model.parts, *size))
    return np.stack(result)


TREES = [
    ("chain", 4, (6,), (11,), [(0, 1), (1, 2), (3, 2)]),
    ("chain with short kernels", 4, (6,), (5,), [(0, 1), (1, 2), (2, 3)]),
    ("star", 4, (5,), (9,), [(1, 0), (2, 0), (0, 3)]),
    ("in the plane", 3, (2, 4), (3, 5), [(0, 2), (2, 1)]),
    ("in space", 2, (2, 2, 3), (3, 3, 5), [(0, 1)]),
    ("one part alone", 3, (7,), (5,), [(0, 2)]),
]


@pytest.mark.parametrize(
    ("parts", "size", "kernel", "pairs"), [one[1:] for one in TREES], ids=[one[0] for one in TREES]
)
def test_marginals_of_trees_are_exact(parts, size, kernel, pairs):
    model = random_model(parts, kernel, pairs, rounds=None, tied=True)
    heat = drawn(parts, size)
    with torch.no_grad():
        np.testing.assert_allclose(model(heat).exp().numpy(), marginals(model, heat), atol=1e-9)


def test_fewer_rounds_are_not_exact_and_more_change_nothing():
    heat, pairs = drawn(4, (6,)), [(0, 1), (1, 2), (2, 3)]
    model = random_model(4, (11,), pairs, rounds=None, tied=True)
    assert model.rounds == 3
    expected = marginals(model, heat)
    for rounds, exact in ((1, False), (2, False), (3, True), (7, True)):
        model.rounds = rounds
        assert (np.abs(model(heat).exp().detach().numpy() - expected).max() < 1e-9) == exact


def test_a_chain_by_forward_and_backward_sums():
    """A long one, whose states are too many to go through, with the numbers of a float32."""
    steps, length = 12, 15
    model = random_model(
        steps, (2 * length - 1,), [(i, i + 1) for i in range(steps - 1)], rounds=None, tied=True
    ).float()
    heat = drawn(steps, (length,), 1).float()
    tables = []
    for i in range(steps - 1):
        prior, level = model.conditional(i + 1, i), torch.nn.functional.softplus(model.raw_background[i]).item()
        tables.append(
            np.array([[prior[q - p + length - 1].item() + level for q in range(length)] for p in range(length)])
        )
    forward, backward = [heat[0, 0].double().numpy()], [np.ones(length)]
    for i in range(steps - 1):
        forward.append((forward[-1] / forward[-1].sum()) @ tables[i] * heat[0, i + 1].double().numpy())
        after = heat[0, steps - 1 - i].double().numpy() * backward[0]
        backward.insert(0, tables[steps - 2 - i] @ (after / after.sum()))
    expected = np.array([one * other for one, other in zip(forward, backward, strict=True)])
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(model(heat).exp().detach().numpy()[0], expected, atol=1e-5)


@pytest.mark.parametrize("floor", [0, 0.3])
def test_one_round_is_the_papers_equation(floor):
    """Equation 2 in NumPy, with every part a pair of every part, itself included, each direction with its own prior."""
    model = random_model(3, (5, 7), floor=floor)
    heat = drawn(3, (8, 9), 1)
    raised = np.maximum(heat[0].numpy(), floor * heat[0].numpy().max((1, 2), keepdims=True))
    raised = raised / raised.sum((1, 2), keepdims=True)
    background = torch.nn.functional.softplus(model.raw_background).tolist()
    ways = [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1), (0, 0), (1, 1), (2, 2)]
    energies = np.zeros((3, 8, 9))
    for (given, part), level in zip(ways, background, strict=True):
        prior = model.conditional(part, given).numpy()
        full = convolve(raised[given], prior, mode="full")[2:-2, 3:-3]
        energies[part] += np.log(full + level)
    expected = np.exp(energies) / np.exp(energies).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(model(heat).exp().detach().numpy()[0], expected, atol=1e-9)


@pytest.mark.parametrize("settings", [{"rounds": 3, "tied": True}, {"rounds": 2}, {}])
def test_gradients(settings):
    model = random_model(3, (3, 5), [(0, 1), (1, 2), (2, 2)], **{"floor": 0.01, **settings})
    heat = drawn(3, (3, 4), 1).requires_grad_()

    def called(heat, prior, background):
        return torch.func.functional_call(model, {"raw_prior": prior, "raw_background": background}, (heat,))

    given = heat, *(one.detach().requires_grad_() for one in (model.raw_prior, model.raw_background))
    assert torch.autograd.gradcheck(called, given)


def test_scales_order_batch_and_type():
    heat = drawn(3, (9, 8))
    pairs, order = [(0, 1), (2, 1)], [2, 0, 1]
    model = random_model(3, (7, 7), pairs, rounds=None, tied=True)
    found = model(heat)
    torch.testing.assert_close(model(heat * torch.tensor([2, 0.1, 5])[:, None, None]), found)
    torch.testing.assert_close(torch.cat([model(one[None]) for one in heat]), found)
    other = SpatialModel(
        3, (7, 7), [(order.index(a), order.index(b)) for a, b in pairs], rounds=None, tied=True, floor=0
    )
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.double()(heat[:, order]), found[:, order])
    narrow = model.float()(heat.bfloat16())
    assert narrow.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(heat.bfloat16()), narrow)
    assert torch.equal(copy.deepcopy(model)(heat), model(heat))


def test_compiled():
    model, heat = SpatialModel(3, 5, [(0, 1), (2, 2)], rounds=2), drawn(3, (9, 8)).float()
    found = torch.compile(model, fullgraph=True, backend="aot_eager")(heat)
    torch.testing.assert_close(found, model(heat))
    torch.testing.assert_close(torch.export.export(model, (heat,)).module()(heat), model(heat))


def test_a_map_of_zeros_says_nothing():
    model = SpatialModel(2, (5,), [(0, 1)], ndim=1)
    heat = torch.zeros(1, 2, 9)
    torch.testing.assert_close(model(heat).exp()[0, 0, 2:7], torch.full((5,), 1 / 9), atol=0.04, rtol=0)
    assert model(heat).isfinite().all()


def test_priors_from_places():
    places = torch.tensor([*[[[5.0, 5], [7, 4]]] * 9, [[1, 9], [3, 8]], [[2, 2], [float("nan"), 0]], [[0, 0], [90, 0]]])
    model = SpatialModel(2, 9, [(0, 1)]).fit_priors(places, smoothing=0.5)
    assert np.unravel_index(int(model.conditional(1, 0).argmax()), (9, 9)) == (4 + 2, 4 - 1)
    assert np.unravel_index(int(model.conditional(0, 1).argmax()), (9, 9)) == (4 - 2, 4 + 1)
    assert model.conditional(1, 0).sum().item() == pytest.approx(1, abs=1e-5)
    tied = SpatialModel(2, 9, [(0, 1)], tied=True).fit_priors(places, smoothing=0.5)
    torch.testing.assert_close(tied.conditional(0, 1), model.conditional(0, 1))


def detector() -> nn.Sequential:
    """Sees 9x9 pixels, which is less than there is between the parts."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(),
        nn.Conv2d(8, len(figures.PARTS), 1),
    )  # fmt: skip


def test_figures_whose_parts_look_alike():
    """Left and right look the same, and so do distractors: only the places of the others tell."""
    torch.manual_seed(0)
    pictures, places = figures.figures(90, seed=1)
    test_pictures, test_places = figures.figures(100, seed=2)
    flat = places[..., 0] * figures.SIZE[1] + places[..., 1]
    alone = detector()
    model = SpatialModel(len(figures.PARTS), 41).fit_priors(places)

    def heat(pictures: Tensor) -> Tensor:
        scores = alone(pictures)
        return scores.flatten(2).softmax(2).view_as(scores)

    def trained(parameters, scores, steps: int, rate: float) -> None:
        optimizer = torch.optim.Adam(parameters, rate)
        for step in range(steps):
            batch = slice(step % 3 * 30, step % 3 * 30 + 30)
            optimizer.zero_grad()
            each = scores(pictures[batch]).flatten(2).flatten(0, 1)
            nn.functional.cross_entropy(each, flat[batch].flatten()).backward()
            optimizer.step()

    def shares() -> tuple[float, float]:
        with torch.no_grad():
            scores = alone(test_pictures), model(heat(test_pictures))
        return figures.found(scores[0], test_places), figures.found(scores[1], test_places)

    trained(alone.parameters(), alone, 75, 0.02)
    by_itself, by_histograms = shares()
    trained([*alone.parameters(), *model.parameters()], lambda pictures: model(heat(pictures)), 15, 0.005)
    _, together = shares()
    print(f"{by_itself=:.3f} {by_histograms=:.3f} {together=:.3f}")
    assert by_itself < 0.6
    assert by_histograms > by_itself + 0.25
    assert together > by_itself + 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": 0}, "parts: got 0"),
        ({"kernel_size": 4}, "kernel_size: got 4, expected odd sizes"),
        ({"pairs": [(0, 3)]}, r"pairs: got \(0, 3\), expected two parts from 0 to 2"),
        ({"pairs": [(0, 1), (1, 0)]}, r"pairs: got \(1, 0\), expected each pair once"),
        ({"rounds": 0}, "rounds: got 0"),
        ({"rounds": None, "pairs": [(0, 1), (1, 2), (2, 0)]}, "pairs that form a loop: got None, expected a number"),
        ({"floor": 1}, "floor: got 1"),
        ({"beta": 0}, "beta: got 0"),
        ({"background": -1}, "background: got -1"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(SettingError, match=message):
        SpatialModel(**{"parts": 3, "kernel_size": 3, **settings})


def test_tensors_that_cannot_be():
    model = SpatialModel(3, 5, [(0, 1)])
    with pytest.raises(ShapeError, match=r"heat maps of a spatial model: got shape \(1, 2, 8, 8\)"):
        model(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ShapeError, match=r"got shape \(1, 3, 8\)"):
        model(torch.zeros(1, 3, 8))
    with pytest.raises(SettingError, match=r"got torch\.int64"):
        model(torch.zeros(1, 3, 8, 8).long())
    with pytest.raises(ShapeError, match=r"places of parts: got shape \(4, 2, 2\)"):
        model.fit_priors(torch.zeros(4, 2, 2))
    with pytest.raises(DataError, match="places of parts 0 and 1: got 0 of 0 examples"):
        model.fit_priors(torch.full((4, 3, 2), float("nan")))
    with pytest.raises(DataError, match=r"got 1 of 2 examples with .*\. kernel_size=\(9, 3\) reaches all"):
        model.fit_priors([[[0, 0], [4, 1], [0, 0]], [[0, 0], [1, 0], [0, 0]]])
    with pytest.raises(SettingError, match=r"got \(2, 0\), expected a pair of it"):
        model.conditional(2, 0)
