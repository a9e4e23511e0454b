"""Every algorithm obeys every law; every planted fault breaks the laws that it should."""

import pytest
import torch
from hypothesis import given, settings

from laws import (
    FAULTS,
    LAWS,
    adjoint,
    bordered,
    crossed,
    equals_matrix,
    equals_reference,
    equivariant,
    flipped,
    impulse,
    linear,
    numbers,
    operations,
    problems,
    shifted,
    unclear,
)
from torchconv.compute.native import loader
from torchconv.compute.operator import Operator
from torchconv.compute.planning.choose import BY_NAME
from torchconv.compute.problem import Problem
from torchconv.description.convolution import Convolution

LESS_EXACT = (
    "torch-bf16",
    "winograd",
)  # where precision allows them, and not in float64: test_plan and test_transforms
COMPILED = ("depthwise", "unshared", "tiled")  # these need the C++ kernels, which an installation may lack
NAMES = [name for name in ("auto", *BY_NAME) if name not in LESS_EXACT and (name not in COMPILED or loader.available())]


def accepts(name: str, conv: Convolution, dtype: torch.dtype = torch.float64) -> bool:
    return name == "auto" or BY_NAME[name].declines(Problem(conv, dtype, "cpu")) is None


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_law(name, law):
    obeyed = 0

    @given(problem=problems(max_ndim=2 if name == "reference" else 3))
    @settings(max_examples={"reference": 25, "dense-table": 200}.get(name, 60))
    def check(problem):
        nonlocal obeyed
        conv, size = problem
        if accepts(name, conv):
            law(operations(name), conv, size)
            obeyed += 1

    check()
    assert obeyed >= 5, f"{name} accepted only {obeyed} problems"


BREAKS = {
    flipped: (equals_reference, equals_matrix, adjoint, impulse),
    shifted: (equals_reference, equals_matrix, adjoint, impulse),
    bordered: (equals_reference, equals_matrix, adjoint, impulse, equivariant),
    unclear: (equals_reference, equals_matrix, linear, adjoint, impulse),
    crossed: (equals_reference, adjoint),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_planted_fault_turns_laws_red(name, fault):
    table = [[1, 0], [1, 1], [0, 1], [1, 1]] if name == "dense-table" else None
    sharing = {"phases": 2, "tiled": 2, "unshared": "none"}.get(name, "full")
    groups = 2 if name == "depthwise" else 1
    conv = Convolution(2, 4, (3, 3), padding=1, groups=groups, bias=False, connections=table, sharing=sharing)
    size = (5, 6)
    for law in BREAKS[fault]:
        if law is equivariant and conv.sharing.needs_size:
            continue
        law(operations(name), conv, size)
        with pytest.raises(AssertionError):
            law(fault(operations(name)), conv, size)


@pytest.mark.parametrize("name", NAMES)
@given(problem=problems(max_ndim=2))
@settings(max_examples=12)
def test_first_and_second_derivatives(name, problem):
    conv, size = problem
    if not accepts(name, conv):
        return
    x, weight, _ = (tensor[:1] if index == 0 else tensor for index, tensor in enumerate(numbers(conv, size)))
    operator = Operator(conv, name)
    arguments = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(operator, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, arguments, fast_mode=True)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reference"])
@given(problem=problems())
def test_float32_is_as_exact_as_the_direct_algorithm(name, problem):
    conv, size = problem
    if not accepts(name, conv, torch.float32):
        return
    x, weight, _ = numbers(conv, size)
    exact = Operator(conv)(x, weight)
    direct = (conv.matrix(weight.float().numpy(), size) @ x.float().flatten(1).numpy().T).T
    allowed = abs(torch.from_numpy(direct).double() - exact.flatten(1)).max() * 4 + 1e-6
    assert abs(Operator(conv, name)(x.float(), weight.float()).double() - exact).max() <= allowed


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", NAMES)
@given(problem=problems(max_ndim=2))
@settings(max_examples=25)
def test_a_bad_sample_reaches_only_the_outputs_that_read_it(name, bad, problem):
    conv, size = problem
    if not accepts(name, conv):
        return
    x, weight, _ = numbers(conv, size)
    place = (0, conv.in_channels - 1, *(n // 2 for n in size))
    x[place] = bad
    marked = torch.zeros_like(x[0])
    marked[place[1:]] = 1
    listed = conv.entries(size)
    reads = torch.zeros(listed.shape[0], dtype=torch.bool)
    reads[torch.from_numpy(listed.rows)[marked.flatten()[torch.from_numpy(listed.columns)] == 1]] = True
    y = Operator(conv, name)(x, weight)
    assert torch.equal(~y[0].flatten().isfinite(), reads)
    assert y[1].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@given(problem=problems())
@settings(max_examples=15)
def test_same_input_same_bits(name, problem):
    conv, size = problem
    if accepts(name, conv, torch.float32):
        x, weight, _ = numbers(conv, size, torch.float32)
        assert torch.equal(Operator(conv, name)(x, weight), Operator(conv, name)(x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", NAMES)
@given(problem=problems())
@settings(max_examples=15)
def test_every_dtype_against_the_definition(name, dtype, problem):
    conv, size = problem
    if not accepts(name, conv, dtype):
        return
    x, weight, grad = numbers(conv, size, dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    tolerance = {torch.bfloat16: 0.15, torch.float32: 1e-4, torch.complex64: 1e-4, torch.complex128: 1e-9}[dtype]
    ours, exact = Operator(conv, name), Operator(conv, "reference")
    pairs = (
        (ours(x, weight), exact(x.to(wide), weight.to(wide))),
        (ours.input_grad(grad, weight, size), exact.input_grad(grad.to(wide), weight.to(wide), size)),
        (ours.weight_grad(x, grad), exact.weight_grad(x.to(wide), grad.to(wide))),
    )
    for got, expected in pairs:
        assert got.dtype == dtype
        assert abs(got.to(wide) - expected).max() <= tolerance * max(1.0, float(abs(expected).max()))
