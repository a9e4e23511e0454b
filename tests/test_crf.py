"""The CRF against a mean field in plain sums over pairs, and its laws."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import Tensor

import brute_crf
import torchconv as tc
from torchconv.compute import pairs
from torchconv.compute.native import loader
from torchconv.compute.pairs import PairWindow
from torchconv.errors import DataError, SettingError, ShapeError
from torchconv.segmentation import CRF


def example(size=(16, 16), classes=4, channels=3, batch=1, dtype=torch.float64, seed=0) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(batch, classes, *size, generator=drawn, dtype=dtype)
    return scores, torch.rand(batch, channels, *size, generator=drawn, dtype=dtype)


def oracle(crf: CRF, scores: Tensor, image: Tensor) -> np.ndarray:
    """The brute force with a CRF's settings, image by image."""
    ndim, channels = scores.ndim - 2, image.shape[1]

    def each(name, count):
        value = crf.widths[name]
        return value if isinstance(value, list) else [value] * count

    def tuples(values):
        return values * ndim if len(values) == 1 else values

    smooth = None if crf.smoothness is None else (crf.smoothness.item(), each("smoothness_width", ndim))
    colors = None if crf.appearance is None else (each("appearance_width", ndim), each("color_width", channels))
    settings = {
        "dilation": tuples(crf.dilation),
        "smoothness": smooth,
        "appearance": None if colors is None else (crf.appearance.item(), *colors),
        "matrix": None if crf.compatibility is None else crf.compatibility.detach().numpy(),
        "normalized": crf.normalization == "symmetric",
    }
    weighted = (crf.score_weight * scores).detach().double().numpy()
    return np.stack([
        brute_crf.mean_field(one, other.double().numpy(), tuples(crf.window), crf.iterations, **settings)
        for one, other in zip(weighted, image, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((16, 16), {}),
        ((16, 16), {"color_width": 0.5, "appearance_width": 2, "smoothness_width": (1.5, 0.7), "score_weight": 0.8}),
        ((16, 16), {"window": (5, 3), "color_width": (0.3, 0.5, 0.2), "compatibility": "matrix", "iterations": 3}),
        ((16, 16), {"window": 5, "normalization": "none", "smoothness": 0.1, "appearance": 0.2, "color_width": 0.4}),
        ((12, 9), {"window": 3, "dilation": (2, 3), "smoothness": None, "color_width": 0.5}),
        ((12, 9), {"window": 31, "appearance": None, "iterations": 10}),
        ((40,), {"window": 7, "color_width": 0.5}),
        ((5, 6, 7), {"window": (3, 5, 3), "color_width": 0.5, "appearance_width": (1, 2, 3)}),
        ((3, 3, 4, 3), {"window": 3, "color_width": 0.5}),  # axes that the kernels do not have
        ((1, 1), {}),
    ],
)
def test_equal_to_brute_force(size, settings):
    scores, image = example(size, batch=2)
    crf = CRF(4, **settings).double()
    if crf.compatibility is not None:
        crf.compatibility.data += 0.2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    expected = oracle(crf, scores, image)
    assert np.abs(expected - torch.softmax(scores, 1).numpy()).max() > 0.05 or size == (1, 1)  # it does something
    for dtype, most in ((torch.float64, 1e-6), (torch.float32, 1e-4)):  # parameters were float32
        with torch.no_grad():
            found = crf.to(dtype)(scores.to(dtype), image.to(dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(found.exp().numpy(), expected, atol=most)


def test_the_brute_force_itself_by_hand():
    """Two places, two labels, one iteration: each cost is weight * kernel * probability of the other label there."""
    scores = np.array([[1.0, 0.0], [0.0, 0.5]])
    found = brute_crf.mean_field(scores, None, [3], 1, smoothness=(2.0, [1.0]), normalized=False)
    q = brute_crf.softmax(scores.T)
    kernel = 2 * np.exp(-0.5)
    expected = brute_crf.softmax(np.array([[1.0, 0.0], [0.0, 0.5]]) - kernel * q[::-1, ::-1])
    np.testing.assert_allclose(found.T, expected)


@pytest.mark.parametrize("compatibility", ["potts", "matrix"])
@pytest.mark.parametrize("normalization", ["symmetric", "none"])
def test_gradients(compatibility, normalization):
    scores, image = example((3, 4), classes=3, channels=2)
    crf = CRF(3, 3, 2, compatibility=compatibility, normalization=normalization, smoothness=0.7, appearance=0.9,
              appearance_width=(1.0, 2.0), smoothness_width=1.5, color_width=(0.4, 0.6)).double()  # fmt: skip
    names, values = zip(*crf.named_parameters(), strict=True)
    given = tuple(one.detach().requires_grad_() for one in (scores, image, *values))

    def called(scores, image, *values):
        return torch.func.functional_call(crf, dict(zip(names, values, strict=True)), (scores, image))

    assert len(names) == 6 + (compatibility == "matrix")
    assert torch.autograd.gradcheck(called, given)
    assert torch.autograd.gradgradcheck(called, given)


def test_messages_are_an_unshared_convolution_of_symmetric_weights():
    window = PairWindow((5, 3), (1, 2))
    x, weights = torch.randn(4, 2, 6, 7), torch.randn(4, window.taps, 6, 7)
    full = torch.zeros(4, 6, 7, 5 * 3)
    for tap, (first, second) in enumerate(window.places((6, 7))):
        full[(slice(None), *first, window.taps + 1 + tap)] = weights[(slice(None), tap, *first)]
        full[(slice(None), *second, window.taps - 1 - tap)] = weights[(slice(None), tap, *first)]
    each = [
        tc.conv(one[:, None], own.reshape(6, 7, 1, 1, 5, 3), padding=(2, 2), dilation=(1, 2), sharing="none")[:, 0]
        for one, own in zip(x, full, strict=True)  # channels as images: all have the same weights
    ]
    torch.testing.assert_close(pairs.messages(weights, x, window), torch.stack(each))


@pytest.mark.parametrize("level", ["none", *loader.LEVELS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("size", "window", "dilation"),
    [((7,), (3,), (1,)), ((6, 37), (5, 3), (1, 2)), ((4, 5, 33), (3, 3, 5), (1, 1, 1)), ((2, 3), (7, 9), (1, 1)),
     ((2, 70), (1, 13), (1, 3)), ((3, 50), (1, 1), (1, 1))],
)  # fmt: skip
def test_pairs_against_loops_over_places(size, window, dilation, dtype, level):
    if level not in ("none", *(loader.LEVELS if loader.available() else ())):
        pytest.skip("no such kernels here")
    there = PairWindow(window, dilation)
    channels = 14  # more than stay in registers
    drawn = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, channels, *size, generator=drawn, dtype=dtype) for _ in "ab")
    weights = torch.randn(2, there.taps, *size, generator=drawn, dtype=dtype)
    expected = torch.zeros_like(a), torch.zeros_like(weights), torch.zeros_like(weights)
    for tap, offset in enumerate(there.offsets()):
        for p in np.ndindex(*size):
            q = tuple(i + by for i, by in zip(p, offset, strict=True))
            if all(0 <= i < length for i, length in zip(q, size, strict=True)):
                at, to = (..., *p), (..., *q)
                weight = weights[:, tap][at][:, None]
                expected[0][at] += weight * a[to]
                expected[0][to] += weight * a[at]
                expected[1][:, tap][at] = (a[at] * b[to] + a[to] * b[at]).sum(1)
                expected[2][:, tap][at] = (a[at] - a[to]).square().sum(1)
    if level == "none":
        plain = there.size, there.dilation
        found = (pairs._messages_by_torch(weights, a, *plain), pairs._products_by_torch(a, b, there.taps, *plain),
                 pairs._distances_by_torch(a, there.taps, *plain))  # fmt: skip
    else:
        before = loader.instructions()
        loader.use_instructions(level)
        found = pairs.messages(weights, a, there), pairs.products(a, b, there), pairs.distances(a, there)
        loader.use_instructions(before)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_bad_sample_reaches_only_its_window():
    window = PairWindow((5, 5), (1, 1))
    x, weights = torch.randn(1, 3, 20, 40), torch.rand(1, window.taps, 20, 40)
    x[0, 1, 7, 39] = float("nan")
    bad = pairs.messages(weights, x, window).isnan()
    near = torch.zeros(20, 40, dtype=torch.bool)
    near[5:10, 37:] = True
    near[7, 39] = False  # no place is in a pair with itself
    assert torch.equal(bad[0, 1], near)
    assert not bad[0, [0, 2]].any()


def test_each_image_alone_and_the_same_bits_for_any_number_of_threads():
    scores, image = example((20, 33), batch=3, dtype=torch.float32)
    crf = CRF(4)
    with torch.no_grad():
        found = crf(scores, image)
        alone = torch.cat([crf(one[None], other[None]) for one, other in zip(scores, image, strict=True)])
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        again = crf(scores, image)
        torch.set_num_threads(threads)
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, again)


def test_large_images_are_learned_from_too():
    """Large results lie in memory of NumPy's, which torch takes for views."""
    scores, image = example((300, 320), classes=2, dtype=torch.float32)
    crf, alone = CRF(2), CRF(2)
    crf(scores, image)[:, :, :40, :40].sum().backward()
    near = 40 + 6 * 5  # five iterations, and the sums of windows
    alone(scores[:, :, :near, :near], image[:, :, :near, :near])[:, :, :40, :40].sum().backward()
    for one, other in zip(crf.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_classes_in_another_order():
    scores, image = example((9, 8))
    crf, other = CRF(4, 5, compatibility="matrix").double(), CRF(4, 5, compatibility="matrix").double()
    order = [2, 0, 3, 1]
    crf.compatibility.data += 0.3 * torch.randn(4, 4, dtype=torch.float64)
    other.compatibility.data = crf.compatibility.data[order][:, order]
    torch.testing.assert_close(crf(scores, image)[:, order], other(scores[:, order], image))


def test_axes_in_another_order():
    scores, image = example((6, 5, 4))
    crf = CRF(4, (5, 3, 1), smoothness_width=(1, 2, 3), appearance_width=(3, 2, 1)).double()
    other = CRF(4, (1, 5, 3), smoothness_width=(3, 1, 2), appearance_width=(1, 3, 2)).double()
    found = crf(scores, image).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(found, other(scores.permute(0, 1, 4, 2, 3), image.permute(0, 1, 4, 2, 3)))


def test_shifted_content_gives_shifted_labels_away_from_the_border():
    scores, image = example((30, 30))
    crf = CRF(4, 3, 2).double()  # reads 2 * (3 - 1) / 2 places for messages, one for each side's sums
    found, cut = crf(scores, image), crf(scores[..., 4:, 7:], image[..., 4:, 7:])
    torch.testing.assert_close(found[..., 8:, 11:], cut[..., 4:, 4:])


def test_log_probabilities_come_out_and_can_go_in():
    scores, image = example((9, 8))
    crf = CRF(4).double()
    found = crf(scores, image)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(1, 9, 8, dtype=torch.float64))
    torch.testing.assert_close(crf(torch.log_softmax(scores, 1), image), found)
    crf.iterations = 0
    torch.testing.assert_close(crf(scores, image), torch.log_softmax(scores, 1))


def test_bytes_are_divided_by_255():
    scores, _ = example((9, 8), dtype=torch.float32)
    image = torch.randint(0, 256, (1, 3, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(CRF(4)(scores, image), CRF(4)(scores, image / 255))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_and_autocast_are_computed_in_float32(dtype):
    scores, image = example((9, 8), dtype=torch.float32)
    crf = CRF(4, compatibility="matrix")
    found = crf(scores.to(dtype), image)
    assert found.dtype == torch.float32
    assert torch.equal(found, crf(scores.to(dtype).float(), image))
    with torch.autocast("cpu", dtype):
        assert torch.equal(crf(scores, image), crf.float()(scores, image))


@pytest.mark.parametrize("compatibility", ["potts", "matrix"])
def test_state_copies_and_pickles(compatibility):
    scores, image = example((9, 8), dtype=torch.float32)
    crf = CRF(4, 5, compatibility=compatibility, color_width=0.3)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter += 0.1
    file = io.BytesIO()
    torch.save(crf, file)
    file.seek(0)
    fresh = CRF(4, 5, compatibility=compatibility)
    fresh.load_state_dict(crf.state_dict())
    for other in (copy.deepcopy(crf), fresh, torch.load(file, weights_only=False)):
        assert torch.equal(other(scores, image), crf(scores, image))


def test_compiled_with_gradients():
    scores, image = example((9, 8), dtype=torch.float32)
    crf = CRF(4, 5, 2, color_width=0.3)
    found = crf(scores, image)
    found.exp().square().sum().backward()
    grads = [one.grad.clone() for one in crf.parameters()]
    crf.zero_grad()
    compiled = torch.compile(crf, fullgraph=True, backend="aot_eager")(scores, image)
    torch.testing.assert_close(compiled, found)
    compiled.exp().square().sum().backward()
    torch.testing.assert_close([one.grad for one in crf.parameters()], grads)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_exported_and_followed_by_other_tools():
    scores, image = example((9, 8), batch=2, dtype=torch.float32)
    crf = CRF(4, 5, 2, color_width=0.3).requires_grad_(False)
    found = crf(scores, image)
    program = torch.export.export(crf, (scores, image))
    assert "torchconv.pair_messages" in program.graph_module.code
    torch.testing.assert_close(program.module()(scores, image), found)
    torch.testing.assert_close(torch.jit.trace(crf, (scores, image))(scores, image), found)
    many = torch.vmap(lambda one, other: crf(one[None], other[None])[0])(scores, image)
    torch.testing.assert_close(many, found)
    by_jacobian = torch.func.jacrev(lambda one: crf(one, image)[0, 0, 4, 4])(scores)
    (by_gradient,) = torch.autograd.grad(crf(scores.requires_grad_(), image)[0, 0, 4, 4], scores)
    torch.testing.assert_close(by_jacobian, by_gradient)
    assert crf.to("meta")(scores.to("meta"), image.to("meta")).shape == found.shape


@pytest.mark.filterwarnings("ignore")
def test_onnx():
    scores, image = example((7,), batch=2, dtype=torch.float32)
    crf = CRF(4, 3, 1, color_width=0.3).requires_grad_(False).eval()
    file = io.BytesIO()
    torch.onnx.export(crf, (scores, image), dynamo=True, verbose=False).save(file)  # by torch's own operations
    session = pytest.importorskip("onnxruntime").InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"scores": scores.numpy(), "image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), crf(scores, image), rtol=1e-4, atol=1e-5)


def test_batched_gradients_and_sizes_left_open():
    scores, image = example((9, 8), batch=2, dtype=torch.float32)
    crf = CRF(4, 5, 2, color_width=0.3)
    y = crf(scores.requires_grad_(), image)[0, 0, 3, :2]
    many = torch.autograd.grad(y, scores, torch.eye(2), is_grads_batched=True, retain_graph=True)[0]
    for one, other in zip(y, many, strict=True):
        torch.testing.assert_close(torch.autograd.grad(one, scores, retain_graph=True)[0], other)
    batch, height, width = map(torch.export.Dim, ("batch", "height", "width"))
    sizes = {0: batch, 2: height, 3: width}
    given = scores.detach(), image
    program = torch.export.export(crf.requires_grad_(False), given, dynamic_shapes=(sizes, sizes)).module()
    other = example((12, 5), batch=3, dtype=torch.float32)
    torch.testing.assert_close(program(*other), crf(*other))


def test_an_empty_batch_and_an_image_smaller_than_the_window():
    crf = CRF(3)
    assert crf(torch.zeros(0, 3, 5, 5), torch.zeros(0, 1, 5, 5)).shape == (0, 3, 5, 5)
    assert crf(torch.zeros(2, 3, 1, 2), torch.zeros(2, 1, 1, 2)).shape == (2, 3, 1, 2)
    scores, image = example((4, 5), classes=3)
    torch.testing.assert_close(CRF(3, 1).double()(scores, image), scores.log_softmax(1))  # no pairs at all


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 0}, "classes: got 0"),
        ({"window": 4}, "window: got 4, expected odd sizes"),
        ({"window": (3, 0)}, "window: got 0"),
        ({"iterations": -1}, "iterations: got -1"),
        ({"smoothness": "strong"}, "smoothness: got 'strong'"),
        ({"smoothness_width": 0}, "smoothness_width: got 0"),
        ({"color_width": (1, -1)}, r"color_width: got \(1, -1\)"),
        ({"score_weight": float("nan")}, "score_weight: got nan"),
        ({"compatibility": "full"}, "compatibility: got 'full', expected 'potts' or 'matrix'"),
        ({"normalization": "before"}, "normalization: got 'before', expected 'symmetric' or 'none'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(SettingError, match=message):
        CRF(**{"classes": 3, **settings})


@pytest.mark.parametrize(
    ("scores", "image", "message"),
    [
        (torch.zeros(3, 5), torch.zeros(1, 5), r"scores of a CRF: got shape \(3, 5\), expected \(batch, 3 classes"),
        (torch.zeros(1, 4, 5, 5), torch.zeros(1, 3, 5, 5), r"got shape \(1, 4, 5, 5\)"),
        (torch.zeros(1, 3, 5, 5).long(), torch.zeros(1, 3, 5, 5), "got torch.int64, expected numbers with fractions"),
        (torch.zeros(1, 3, 5, 5), None, r"image of a CRF: got none, expected a tensor. Or use CRF\(appearance=None\)"),
        (torch.zeros(1, 3, 5, 5), torch.zeros(1, 3, 5, 6), r"image of a CRF: got shape \(1, 3, 5, 6\)"),
        (torch.zeros(2, 3, 5, 5), torch.zeros(1, 3, 5, 5), r"image of a CRF: got shape \(1, 3, 5, 5\)"),
        (torch.zeros(1, 3, 5, 5), torch.zeros(1, 3, 5, 5).int(), "got torch.int32, expected uint8"),
        (torch.zeros(1, 3, 5, 5), torch.zeros(1, 2, 5, 5), "color_width of a CRF: got 3 numbers"),
        (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5), r"window of a CRF on scores with 1 axes: got \(3, 5\)"),
        (np.zeros((1, 3, 5, 5)), torch.zeros(1, 3, 5, 5), "scores: got ndarray, expected a torch.Tensor"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_go_together(scores, image, message):
    with pytest.raises((SettingError, ShapeError), match=message):
        CRF(3, (3, 5), color_width=(0.1, 0.1, 0.1))(scores, image)


def noisy(count: int = 6, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Images of two halves, with noise in the scores that the image does not have; some labels are not known."""
    torch.manual_seed(seed)
    found = []
    for edge in torch.randint(8, 24, (count,)).tolist():
        labels = (torch.arange(32) >= edge).long().expand(1, 24, 32).contiguous()
        image = 0.3 + 0.4 * labels[:, None].float() + 0.03 * torch.randn(1, 3, 24, 32)
        scores = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) + 1.5 * torch.randn(1, 3, 24, 32)
        labels[:, :3] = 255
        found.append((scores.float(), image, labels))
    return found


def loss(crf: CRF | None, examples: list) -> float:
    each = [(scores if crf is None else crf(scores, image), labels) for scores, image, labels in examples]
    found = [torch.nn.functional.cross_entropy(*one, ignore_index=255) for one in each]
    return torch.stack(found).mean().item()


@pytest.mark.parametrize("compatibility", ["potts", "matrix"])
def test_what_is_fitted_is_better_on_other_images_too(compatibility):
    crf = CRF(3, 5, 3, smoothness=0.5, appearance=0.5, color_width=1.0, compatibility=compatibility)
    learn, other = noisy(), noisy(seed=1)
    before = loss(crf, other)
    assert crf.fit(learn, epochs=8, rate=0.1) is crf
    assert loss(crf, other) < 0.7 * before < 0.7 * loss(None, other)
    assert crf.widths["color_width"] < 1
    assert all(parameter.grad is None for parameter in crf.parameters())


def test_what_does_not_help_is_not_kept():
    crf = CRF(3, 5, 3)
    state = copy.deepcopy(crf.state_dict())
    crf.fit(noisy(2), epochs=1, rate=1e3)
    assert all(torch.equal(one, state[name]) for name, one in crf.state_dict().items())
    with pytest.raises(DataError, match=r"examples to fit a CRF to: got none, expected \(scores, image, labels\)"):
        crf.fit([])


@pytest.mark.parametrize(
    "settings", [{"window": (5, 3), "compatibility": "matrix", "color_width": (0.1, 0.2, 0.3)},
                 {"appearance": None, "normalization": "none", "iterations": 2, "dilation": 2}],
)  # fmt: skip
def test_files(tmp_path, settings):
    crf = CRF(4, **settings)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter += 0.1
    crf.save(tmp_path / "crf.safetensors")
    scores, image = example((9, 8), dtype=torch.float32)
    assert torch.equal(CRF.load(tmp_path / "crf.safetensors")(scores, image), crf(scores, image))


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "other.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"other.safetensors is no CRF: got .*, expected a file that CRF\.save wrote"):
        CRF.load(path)


def test_inspection_sees_one_layer():
    class Refined(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.crf = torch.nn.Conv2d(3, 4, 3, padding=1), CRF(4, (5, 3), 2)

        def forward(self, image):
            return self.crf(self.network(image), image)

    report = tc.inspect(Refined(), (3, 40, 40))
    (row,) = [row for row in report.rows if row.operation == "crf"]
    assert row.parameters == 6
    assert not report.warnings
    # two iterations of windows, then the convolution; or, in the image, the sums of one more window
    assert str(report.receptive_field.of((20, 20))) == "14..26, 17..23"
