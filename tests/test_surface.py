"""The public names: there, documented, typed, and imported only when used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import torchconv as tc
from torchconv import errors

PUBLIC = [
    "Convolution",
    "Plan",
    "PriorPenalty",
    "TorchconvError",
    "as_convolution",
    "as_linear",
    "build",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "convolve",
    "correlate",
    "draw_field",
    "draw_network",
    "effective_field",
    "equivariance",
    "inspect",
    "inspection",
    "narrow",
    "nn",
    "parse",
    "plan",
    "pooling_advice",
    "receptive_field",
    "tune",
    "widen",
]


def test_names():
    assert sorted(tc.__all__) == sorted(PUBLIC)
    assert set(tc.__all__) <= set(dir(tc))
    tree = ast.parse(Path(tc.__file__).read_text())
    typed = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for alias in node.names
    }
    assert typed == set(tc.__all__)
    with pytest.raises(AttributeError, match="convolve_all"):
        _ = tc.convolve_all


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    thing = getattr(tc, name)
    assert inspect.getdoc(thing)
    if name not in ("inspection", "nn", "Plan", "TorchconvError"):
        assert ">>>" in inspect.getdoc(thing), f"{name} has no doctest"


@pytest.mark.parametrize("name", tc.nn.__all__)
def test_every_layer_is_documented(name):
    assert ">>>" in inspect.getdoc(getattr(tc.nn, name))


def test_importing_waits_for_nothing():
    code = "import sys, torchconv.cli.app; assert not {'torch', 'lightning', 'lark', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_is_of_the_one_family():
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == errors.__name__]
    assert len(kinds) >= 6
    assert all(issubclass(kind, tc.TorchconvError) and issubclass(kind, ValueError) for kind in kinds)
