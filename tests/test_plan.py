"""Plans and what is remembered of measurements."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import torchconv as tc
from torchconv.compute.algorithms.fft.algorithm import Fourier
from torchconv.compute.algorithms.torch_kernels import TorchKernels
from torchconv.compute.native import loader
from torchconv.compute.planning import choose, machine, measure, wisdom
from torchconv.compute.problem import Problem
from torchconv.compute.tensors import INPUT, OUTPUT, WEIGHT

SMALL = tc.Convolution(4, 4, (9, 9), padding="same")


@pytest.fixture(autouse=True)
def own_wisdom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wisdom.FOLDER_VARIABLE, str(tmp_path / "wisdom"))
    wisdom.forget()
    choose.forget_choices()
    yield
    wisdom.forget()
    choose.forget_choices()


def problem(convolution: tc.Convolution = SMALL, size: tuple[int, ...] = (32, 32)) -> Problem:
    return Problem(convolution, torch.float32, "cpu", "auto", 2, size, torch.get_num_threads())


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (tc.Convolution(1, 1, (101, 101), padding="same"), (1, 1, 1024, 1024)),
        (tc.Convolution(64, 64, (31, 31), padding=15, groups=64), (8, 64, 56, 56)),
        (tc.Convolution(64, 64, (1024,), padding="same"), (4, 64, 16000)),
    ],
)
def test_large_kernels_are_not_left_to_torch(convolution: tc.Convolution, shape: tuple[int, ...]) -> None:
    plan = tc.plan(convolution, shape)
    torchs = next(row for row in plan.rows if row.name == TorchKernels.name)
    assert plan.algorithm != TorchKernels.name
    assert plan.seconds * machine.MARGIN < torchs.seconds[OUTPUT]
    assert not plan.measured


def test_small_kernels_are_torchs_and_cost_nothing_on_top() -> None:
    convolution = tc.Convolution(64, 64, (1, 1))
    assert tc.plan(convolution, (8, 64, 56, 56)).algorithm == TorchKernels.name
    assert choose.takes_first(convolution)
    assert not choose.takes_first(SMALL)


def test_printed_plans_explain_and_shown_ones_are_short() -> None:
    plan = tc.plan(SMALL, (2, 4, 32, 32))
    assert str(plan) == plan.explain()
    assert repr(plan).startswith(f"<Plan: {plan.algorithm} for {SMALL} on 2 images of 32x32, ")
    assert len(repr(plan)) < 120
    loops = tc.nn.Conv2d(1, 1, 3, algorithm="reference")
    assert repr(tc.plan(loops, (1, 1, 4, 4))).endswith(" on 1 images of 4x4, unknown time>")


def test_explain_has_every_algorithm_with_seconds_or_a_reason() -> None:
    text = tc.plan(SMALL, (2, 4, 32, 32)).explain()
    lines = text.splitlines()
    assert lines[0].startswith("4->4, 9x9, padding=4 on 2 images of 32x32, float32, cpu")
    for algorithm in choose.TABLE:
        (line,) = [line for line in lines if line.split()[:1] == [algorithm.name]]
        assert ("declines: " in line) == (algorithm.declines(problem()) is not None)
    assert text.count("* ") == 3
    assert len({len(line) for line in lines[3:] if not {"declines:", "needs"} & set(line.split())}) == 1


def test_a_layer_has_its_own_plan() -> None:
    layer = tc.nn.Conv2d(4, 4, 9, algorithm="fft")
    assert tc.plan(layer, (1, 4, 16, 16)).algorithms == dict.fromkeys((OUTPUT, INPUT, WEIGHT), "fft")


def test_measuring_chooses_the_fastest_and_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tc.plan(SMALL, (2, 4, 32, 32), measure=True)
    assert plan.measured
    for role, name in plan.algorithms.items():
        seconds = {row.name: row.seconds[role] for row in plan.rows if row.reason is None}
        assert seconds[name] == min(seconds.values())
        assert sum(value < float("inf") for value in seconds.values()) >= 2
    assert "measured" in plan.explain()
    assert wisdom.recall(problem()) == plan.algorithms
    assert tc.plan(SMALL, (2, 4, 32, 32)).algorithms == plan.algorithms
    assert wisdom.recall(problem(size=(33, 32))) == {}


def test_what_was_measured_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = tc.Convolution(4, 4, (3, 3), padding=1)
    one = replace(problem(convolution), input_size=(16, 16))
    wisdom.remember(one, dict.fromkeys((OUTPUT, INPUT, WEIGHT), "patches"), {})
    choose.forget_choices()
    used = []
    patches = choose.BY_NAME["patches"]
    output = patches.output
    monkeypatch.setattr(type(patches), "output", lambda self, *arguments: (used.append(1), output(*arguments))[1])
    x, weight = torch.randn(2, 4, 16, 16), torch.randn(4, 4, 3, 3)
    layer = tc.nn.Conv.of(convolution)
    torch.testing.assert_close(layer(x), torch.conv2d(x, layer.weight, layer.bias, padding=1))
    assert used == [1]
    layer(torch.randn(3, 4, 16, 16))
    assert used == [1]
    assert weight.shape == convolution.weight_shape()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"question": {}}', '{"question": 1, "answer": 2}'])
def test_torn_and_foreign_files_are_never_believed(text: str) -> None:
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "patches"), {})
    (path,) = wisdom.folder().iterdir()
    right = path.read_text()
    wisdom._LEARNED.clear()  # as in another process
    path.write_text(text)
    with pytest.warns(RuntimeWarning, match=f"{path.name} is ignored: .*Remove it and measure anew"):
        assert wisdom.recall(problem()) == {}
    wisdom.convolutions.cache_clear()
    if text != '{"question": {}}':
        with pytest.warns(RuntimeWarning, match="is ignored"):
            assert wisdom.convolutions() == frozenset()
    # a digest that collides: the file of another question under this one's name
    path.write_text(right.replace('"batch": 2', '"batch": 3'))
    with pytest.warns(RuntimeWarning, match="it answers another question"):
        assert wisdom.recall(problem()) == {}
    path.write_text(right)
    assert wisdom.recall(problem())[OUTPUT] == "patches"


def test_an_answer_that_declines_is_not_followed() -> None:
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "no-such"), {})
    assert tc.plan(SMALL, (2, 4, 32, 32)).algorithm in choose.BY_NAME


def test_a_layer_in_use_goes_the_way_that_was_measured_for_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = tc.Convolution(2, 2, (31, 31), padding=15)
    layer, x, used = tc.nn.Conv.of(convolution), torch.randn(2, 2, 20, 20), []
    expected = layer(x)
    here = replace(problem(convolution), input_size=(20, 20))
    wisdom.remember(here, dict.fromkeys((OUTPUT, INPUT, WEIGHT), "patches"), {})
    choose.forget_choices()
    patches = choose.BY_NAME["patches"]
    output = patches.output
    monkeypatch.setattr(type(patches), "output", lambda self, *arguments: (used.append(1), output(*arguments))[1])
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert used == [1]
    torch.set_num_threads(here.threads + 1)
    try:
        layer(x)
    finally:
        torch.set_num_threads(here.threads)
    layer(x.contiguous(memory_format=torch.channels_last))
    assert used == [1]


@pytest.mark.skipif(not loader.available(), reason="no C++ kernels here")
def test_what_the_kernels_can_do_is_part_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "torch"), {})
    monkeypatch.setattr(loader, "instructions", lambda: "none of today's")
    assert wisdom.recall(problem()) == {}


def test_no_home_and_nested_files_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "torch"), {})
    (path,) = wisdom.folder().iterdir()
    path.write_text("[" * 10**6)
    wisdom._LEARNED.clear()
    with pytest.warns(RuntimeWarning, match="is ignored: RecursionError"):
        assert wisdom.recall(problem()) == {}
    with pytest.warns(RuntimeWarning, match="is ignored: RecursionError"):
        assert wisdom.convolutions() == frozenset()
    path.unlink()
    for name in (wisdom.FOLDER_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "torch"), {})
    wisdom._LEARNED.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is not there is not spoilt
        assert wisdom.recall(problem()) == {}


def test_many_writers_leave_whole_files() -> None:
    names = ["patches", "fft", "torch"]
    with ThreadPoolExecutor(8) as pool:
        answers = [dict.fromkeys((OUTPUT, INPUT, WEIGHT), names[n % 3]) for n in range(60)]
        list(pool.map(lambda answer: wisdom.remember(problem(), answer, {}), answers))
    (path,) = wisdom.folder().iterdir()
    assert json.loads(path.read_text())["answer"][OUTPUT] in names
    assert wisdom.forget() == 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(wisdom.FOLDER_VARIABLE, str(tmp_path / "file" / "wisdom"))
    wisdom.remember(problem(), dict.fromkeys((OUTPUT, INPUT, WEIGHT), "patches"), {})
    assert wisdom.recall(problem())[OUTPUT] == "patches"  # in this process only
    wisdom._LEARNED.clear()
    assert wisdom.recall(problem()) == {}


def test_a_wrong_algorithm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's own bfloat16 kernels are on some processors."""
    bench = measure.Bench(problem())
    both = [choose.BY_NAME["torch"], choose.BY_NAME["fft"]]
    assert bench.right(both, OUTPUT) == both
    output = Fourier.output
    monkeypatch.setattr(Fourier, "output", lambda self, *arguments: output(self, *arguments) * 1.001)
    assert bench.right(both, OUTPUT) == both[:1]


def test_what_fails_or_cannot_be_checked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("there is not enough memory for the kernels' buffers")

    monkeypatch.setattr(Fourier, "output", fail)
    bench, both = measure.Bench(problem()), [choose.BY_NAME["torch"], choose.BY_NAME["fft"]]
    assert bench.right(both, OUTPUT) == both[:1]
    assert bench.right(both[::-1], OUTPUT) == []


def test_bfloat16_only_where_it_is_allowed() -> None:
    x, weight = torch.randn(2, 16, 12, 12), torch.randn(16, 16, 3, 3)
    exact = tc.conv(x, weight)
    rounded = tc.conv(x, weight, precision="bf16", algorithm="torch-bf16")
    error = float((exact - rounded).abs().max() / exact.abs().max())
    assert 1e-5 < error < 2e-2
    with pytest.raises(tc.TorchconvError, match='only precision="bf16" allows it'):
        tc.conv(x, weight, algorithm="torch-bf16")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ((torch.nn.Conv2d(1, 1, 3), (1, 1, 8, 8)), "conv of plan: got Conv2d, expected a Convolution or a layer"),
        ((SMALL, (4, 32, 32)), r"input_shape of plan for convolution .*expected \(batch, 4, size, size\)"),
        ((SMALL, (1, 3, 32, 32)), r"got \(1, 3, 32, 32\)"),
        ((SMALL, (0, 4, 32, 32)), r"got \(0, 4, 32, 32\)"),
    ],
)
def test_requests_that_cannot_be(request_: tuple, message: str) -> None:
    with pytest.raises(tc.TorchconvError, match=message):
        tc.plan(*request_)
