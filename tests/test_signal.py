"""Convolution and correlation of arrays: scipy.signal's meaning, every method, every type, exact integers."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, strategies as st

import torchconv as tc
from torchconv import errors
from torchconv.signal import methods
from torchconv.signal.methods import ranged
from torchconv.signal.request import METHODS, spans_of

MODES = ("full", "same", "valid")
TYPES = ("float64", "float32", "complex128", "complex64")


@st.composite
def shapes(draw, most=40):
    """Two shapes of 1 to 3 axes, of which mode "valid" may decline."""
    ndim = draw(st.integers(1, 3))
    largest = (most, 9, 6)[ndim - 1]
    return tuple(tuple(draw(st.integers(1, largest)) for _ in range(ndim)) for _ in range(2))


def numbers(shape, kind, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if kind.startswith("complex") else x).astype(kind)


def nested(first, second):
    ahead = {n > k for n, k in zip(first, second, strict=True) if n != k}
    return len(ahead) < 2


@given(
    shapes(),
    st.sampled_from(MODES),
    st.sampled_from(METHODS),
    st.sampled_from(TYPES),
    st.sampled_from(["convolve", "correlate"]),
    st.integers(0, 9),
)
def test_like_scipy(sizes, mode, method, kind, name, seed):
    a, b = numbers(sizes[0], kind, seed), numbers(sizes[1], kind, seed + 1)
    ours = getattr(tc, name)
    if mode == "valid" and not nested(*sizes):
        with pytest.raises(errors.ShapeError, match="at least as large"):
            ours(a, b, mode, method)
        return
    expected = getattr(scipy.signal, name)(a, b, mode, method="direct")
    tolerance = 1e-4 if kind in ("float32", "complex64") else 1e-12
    for got in (ours(a, b, mode, method), ours(torch.tensor(a), torch.tensor(b), mode, method).numpy()):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@given(
    st.sampled_from(MODES),
    st.sampled_from(METHODS),
    st.sampled_from([(5, 300, 20), (3, 17, 200), (1, 64, 64)]),
    st.sampled_from([1, 5]),
    st.booleans(),
)
def test_some_axes(mode, method, sizes, other, last):
    a, b = numbers((sizes[0], sizes[1]), "float64", 1), numbers((1 if sizes[0] == 3 else other, sizes[2]), "float64", 2)
    axis = -1 if last else 0
    a, b = (x if last else x.T for x in (a, b))
    try:
        got = tc.convolve(a, b, mode, method, axes=[axis])
    except errors.UnsupportedError as error:
        assert method == "matrix" and "of its own" in str(error)  # noqa: PT017, PT018
        return
    a, b = (np.moveaxis(x, axis, -1) for x in (a, b))
    rows = max(len(a), len(b))
    pairs = zip(np.broadcast_to(a, (rows, a.shape[1])), np.broadcast_to(b, (rows, b.shape[1])), strict=True)
    expected = np.moveaxis(np.stack([scipy.signal.convolve(x, y, mode) for x, y in pairs]), -1, axis)
    np.testing.assert_allclose(got, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("first", "second"),
    [("int8", "int32"), ("int32", "float32"), ("int64", "uint64"), ("float16", "float16"), ("bool", "bool"),
     ("bool", "int16"), ("float32", "complex64"), ("float64", "longdouble"), ("int16", "object")],
)  # fmt: skip
@pytest.mark.parametrize("size", [(6,), (5, 4), (300,)])
def test_types_are_promoted_as_numpy_does(first, second, size):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, size).astype(kind) for kind in (first, second))
    got = tc.convolve(a, b)
    assert got.dtype == np.result_type(a, b)
    wide = scipy.signal.convolve(*(x.astype(float if x.dtype.kind != "c" else complex) for x in (a, b)))
    np.testing.assert_allclose(
        got.astype(complex), np.rint(np.abs(wide)) > 0 if first == second == "bool" else wide, atol=1e-5
    )


@given(shapes(60), st.sampled_from(MODES), st.sampled_from(METHODS), st.sampled_from(TYPES), st.integers(0, 999))
def test_what_is_not_finite_stays_in_its_windows(sizes, mode, method, kind, seed):
    """The golden result multiplies only numbers that meet: object arrays, one tap after another."""
    if mode == "valid" and not nested(*sizes):
        return
    rng = np.random.default_rng(seed)
    a, b = (numbers(shape, kind, seed) for shape in sizes)
    for x in (a, b):
        for value in (np.nan, np.inf, -np.inf, 0, 0)[rng.integers(5) :]:
            if rng.random() < 0.6:
                x.reshape(-1)[rng.integers(x.size)] = value
    with np.errstate(all="ignore"):
        expected = tc.convolve(a, b, mode, "direct")
        got = tc.convolve(a, b, mode, method)
    parts = [(got, expected)] if got.dtype.kind == "f" else [(got.real, expected.real), (got.imag, expected.imag)]
    for ours, theirs in parts:
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_in_a_long_signal(method, bad):
    a, b = numbers(5000, "float64", 0), numbers(100, "float64", 1)
    a[2000] = bad
    got = tc.convolve(a, b, method=method)
    assert np.flatnonzero(~np.isfinite(got)).tolist() == list(range(2000, 2100))
    assert np.isinf(got).any() == (bad == np.inf)
    large = np.full(4000, 1e300)
    np.testing.assert_allclose(tc.convolve(large, np.full(4000, 1e-10), method=method)[3999], 4e293, rtol=1e-9)
    tiny = tc.convolve(np.full(500, 1e200), np.array([1e200, 1e-300]), method=method)
    assert np.isinf(tiny[:-1]).all()
    assert abs(tiny[-1] / 1e-100 - 1) < (1e-9 if method in ("auto", "direct") else np.inf)


@pytest.mark.parametrize("method", ["auto", "fft", "overlap", "matrix"])
@pytest.mark.parametrize(
    "sizes",
    [((20_000,), (30,)), ((20_000,), (100,)), ((20_000,), (1000,)), ((150, 160), (5, 5)), ((150, 160), (20, 21))],
)
@pytest.mark.parametrize("positive", [False, True])
def test_float32_is_nearly_as_exact_as_sums(method, sizes, positive):
    a, b = (numbers(shape, "float32", seed) for seed, shape in enumerate(sizes))
    a, b = (abs(a), abs(b)) if positive else (a, b)
    exact = scipy.signal.oaconvolve(a.astype(float), b.astype(float))
    error, usual = (np.abs(tc.convolve(a, b, method=one) - exact).max() for one in (method, "direct"))
    assert error <= 4 * usual


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("taps", [20, 300, 5000])
def test_compiled_ways_along_one_axis_say_what_numpy_says(mode, kind, taps):
    a, b = numbers((30_000,), kind, 0), numbers((taps,), kind, 1)
    a.flags.writeable = False
    for one, other in ((a, b), (b, a), (a[::-1], b[::-1])):
        result = tc.convolve(one, other, mode)
        expected = scipy.signal.convolve(one.astype(float), other.astype(float), mode)
        assert result.dtype == a.dtype
        assert np.abs(result - expected).max() <= (1e-12 if kind == "float64" else 1e-6) * np.abs(expected).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["first", "second"])
def test_compiled_sums_leave_what_is_not_finite_in_its_windows(bad, place):
    a, b = numbers((30_000,), "float64", 0), numbers((20,), "float64", 1)
    (a if place == "first" else b)[7] = bad
    assert np.array_equal(np.isfinite(tc.convolve(a, b)), np.isfinite(np.convolve(a, b)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("first", "second"), [((6,), (3,)), ((3,), (8,)), ((4, 3), (2, 3))])
def test_gradients(method, kind, first, second):
    torch.manual_seed(0)
    a, b = (torch.randn(*shape, dtype=kind, requires_grad=True) for shape in (first, second))
    for mode in MODES:
        assert torch.autograd.gradcheck(lambda a, b, mode=mode: tc.convolve(a, b, mode, method), (a, b))
        assert torch.autograd.gradgradcheck(lambda a, b, mode=mode: tc.correlate(a, b, mode, method), (a, b))


def test_gradients_along_some_axes():
    a = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: tc.convolve(a, b, "same", axes=1), (a, b))
    assert torch.autograd.gradcheck(lambda a, b: tc.convolve(a.T, b.T, "valid", axes=0), (a, b))


def test_numbers_in_another_order_of_bytes_or_memory():
    a, b = numbers((30, 20), "float64", 0), numbers((5, 6), "float64", 1)
    for method in METHODS:
        for change in (
            lambda x: x.astype(x.dtype.newbyteorder()),
            lambda x: x[::-1, ::-1][::-1, ::-1],
            np.asfortranarray,
        ):
            np.testing.assert_allclose(tc.convolve(change(a), change(b), method=method), scipy.signal.convolve(a, b))
    assert tc.convolve(np.arange(3, dtype=">i4"), np.arange(3, dtype=">i4")).tolist() == [0, 0, 1, 4, 4]


def test_tensors_keep_their_type():
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.int16, torch.uint8, torch.bool):
        x = torch.ones(4).to(kind)
        assert tc.convolve(x, x).dtype == kind
    assert tc.convolve(torch.ones(3), torch.ones(2, dtype=torch.int64)).dtype == torch.float32


# What scipy's own tests hold, in other words.
def test_scalars_and_single_numbers():
    assert tc.convolve(4, 5) == 20
    assert tc.correlate(np.array(2 + 1j), np.array(3j)) == (2 + 1j) * -3j
    assert tc.convolve(torch.tensor(2.0), torch.tensor(3.0)).item() == 6
    assert tc.convolve([[3]], [[4]]).tolist() == [[12]]


def test_a_row_and_a_column_swap_operands_in_valid_mode():
    a, b = np.arange(1.0, 9), np.array([1.0, 2, 3])
    np.testing.assert_allclose(tc.convolve(a, b, "valid"), tc.convolve(b, a, "valid"))
    np.testing.assert_allclose(tc.correlate(b, a, "valid"), tc.correlate(a, b, "valid")[::-1])
    assert tc.convolve([1, 2, 3], [3, 4, 5, 6, 7, 8], "same").tolist() == [22, 28, 34]


def test_lags_of_a_correlation():
    signal, delay = np.random.default_rng(0).standard_normal(200), 37
    late = np.concatenate([np.zeros(delay), signal])
    lags = scipy.signal.correlation_lags(len(late), len(signal))
    assert lags[np.argmax(tc.correlate(late, signal))] == delay


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        (([1, 2], [[1]]), {}, errors.ShapeError, "same number of axes"),
        (([], [1.0]), {}, errors.ShapeError, "at least one number"),
        (([1], [1]), {"mode": "circular"}, errors.SettingError, "full, same, valid"),
        (([1], [1]), {"mode": 2}, errors.SettingError, "full, same, valid"),
        (([1], [1]), {"method": "magic"}, errors.SettingError, "auto, direct, matrix, fft, overlap"),
        (([[1]], [[1]]), {"axes": (0, -2)}, errors.SettingError, "different numbers"),
        (([[1]], [[1]]), {"axes": []}, errors.SettingError, "axes"),
        (([[1]], [[1]]), {"axes": 2}, errors.SettingError, "from -2 to 1"),
        ((np.ones((3, 4)), np.ones((2, 4))), {"axes": 1}, errors.ShapeError, "not convolved"),
        ((np.ones(3), torch.ones(3)), {}, errors.SettingError, "two arrays or two tensors"),
        ((["a"], ["b"]), {}, errors.SettingError, "numbers"),
        ((np.ones(9, "longdouble"), np.ones(2)), {"method": "fft"}, errors.UnsupportedError, "type"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(arguments, settings, error, words):
    for function in (tc.convolve, tc.correlate):
        with pytest.raises(error, match=words):
            function(*arguments, **settings)


def test_nothing_along_an_axis_that_is_not_convolved():
    assert tc.convolve(np.ones((0, 4)), np.ones((1, 3)), axes=1).shape == (0, 6)
    assert tc.convolve(torch.ones(4, 0), torch.ones(3, 1), axes=0).shape == (6, 0)


@given(shapes(), st.sampled_from(MODES), st.sampled_from(METHODS), st.sampled_from(TYPES), st.booleans())
def test_devices_that_numpy_cannot_see(sizes, mode, method, kind, bad):
    """The same steps in torch's spelling, here on tensors that NumPy could see."""
    if mode == "valid" and not nested(*sizes):
        return
    a, b = (numbers(shape, kind, seed) for seed, shape in enumerate(sizes))
    if bad:
        a.reshape(-1)[a.size // 2] = np.nan
    got = ranged(torch.tensor(a), torch.tensor(b), spans_of(mode, *sizes), method, tensors=True)
    np.testing.assert_allclose(got.numpy(), tc.convolve(a, b, mode, "direct"), rtol=0, atol=1e-3)


def test_each_method_is_asked_once_for_a_request(monkeypatch):
    asked = []
    for name, planner in methods.PLANNERS.items():
        monkeypatch.setitem(methods.PLANNERS, name, lambda x, n=name, p=planner: asked.append((n, x.outputs)) or p(x))
    methods.plans.cache_clear()
    methods.choose.cache_clear()
    a, b = np.random.default_rng(0).standard_normal((2, 5003))
    first = tc.convolve(a, b[:501], mode="same")
    assert sorted(asked) == sorted((name, (5003,)) for name in methods.PLANNERS)
    assert np.array_equal(tc.convolve(a, b[:501], mode="same"), first)
    assert len(asked) == len(methods.PLANNERS)
    methods.plans.cache_clear()
    methods.choose.cache_clear()
