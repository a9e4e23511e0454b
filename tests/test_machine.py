"""Estimates that follow what was measured on this machine: one factor for each way and kind, for just this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import torchconv as tc
from torchconv.compute.planning import choose, cost_model, machine, measure, wisdom
from torchconv.compute.problem import Problem


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(wisdom.FOLDER_VARIABLE, str(tmp_path / "wisdom"))
    yield
    monkeypatch.undo()
    cost_model.factors.cache_clear()
    choose.forget_choices()


def forget() -> None:
    cost_model.factors.cache_clear()
    choose.forget_choices()


def problem(threads: int = 2) -> Problem:
    conv = tc.Convolution(1, 1, (101, 101), padding=50, bias=False)
    return Problem(conv, torch.float32, "cpu", "auto", 1, (256, 256), threads)


def test_choices_follow_what_was_measured() -> None:
    asked = problem()
    forget()
    assert choose.choose(asked).output.name == "fft"
    factors = {cost_model.key("fft", asked.convolution, torch.float32, False, "output"): 20.0}
    factors |= {cost_model.key("torch", asked.convolution, torch.float32, False, "output"): 0.05}
    cost_model.remember_factors(2, factors)
    forget()
    expected = choose.BY_NAME["fft"].expected(asked, "output")
    assert expected == 20 * choose.BY_NAME["fft"].seconds(asked, "output")
    assert choose.choose(asked).input.name == "fft"
    assert choose.BY_NAME["fft"].expected(problem(3), "output") == choose.BY_NAME["fft"].seconds(problem(3), "output")


def test_factors_of_other_machines_and_damaged_ones_do_not_count() -> None:
    cost_model.remember_factors(2, {"fft, single large, float32, contiguous, output": 2.0})
    (path,) = wisdom.folder().iterdir()
    whole = path.read_text()
    for text in (whole[:-9], "[]", whole.replace(torch.__version__, "0.1"), whole.replace("2.0", '"2"')):
        path.write_text(text)
        cost_model.factors.cache_clear()
        assert cost_model.factors(2) == {}
    path.write_text(whole.replace("2.0", "1e9"))
    cost_model.factors.cache_clear()
    assert cost_model.factors(2) == {}, "no way is a thousand million times slower than elsewhere"


def test_every_kind_is_measured() -> None:
    found = {cost_model.group(one.convolution) for one in measure.problems(2)}

    assert found == {*machine.RATES, "unshared", "tiled"}


def test_calibration_of_some_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PROBLEMS", (("4->4, 9, padding=4", 2, (100,)), ("1->1, 5x5, padding=2", 1, (20, 20))))
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    found = measure.calibrate()
    assert cost_model.factors(torch.get_num_threads()) == found
    names = [name for name, *_ in measure.summary(found)]
    assert names[0] == "torch"
    assert all(cost_model.LEAST <= value <= cost_model.MOST for value in found.values())
