"""The command `torchconv doctor`: versions, processor, and what is off on this machine, with what that costs."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from typing import NamedTuple

import typer

from ..text import install
from . import AsJson, json_text, show_table

COST = "large kernels take 5 to 35 times as long, depthwise and unshared training steps 5 to 8 times"
TRAIN = ("lightning", "torchmetrics", "sklearn", "PIL", "safetensors", "kornia", "datasets", "jinja2")


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what to do or know; `note` is "" where all is well."""

    name: str
    found: str
    note: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Print what decides how fast torchconv is on this machine: versions, processor, what is off and what it costs.

    torchconv doctor
    """
    found = findings()
    if as_json:
        typer.echo(json_text([one._asdict() for one in found]))
    else:
        show_table((), found)


def findings() -> list[Finding]:
    """Everything that decides how fast torchconv is here, and what it can do."""
    import torch

    from .. import __version__
    from ..compute.planning import cost_model, wisdom

    return [
        Finding("torchconv", __version__),
        Finding("torch", torch.__version__),
        Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding("processor", f"{wisdom.processor('cpu')}, {torch.backends.cpu.get_cpu_capability()}"),
        Finding("threads", str(torch.get_num_threads()), "torch.set_num_threads changes it"),
        Finding("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
        _kernels(),
        _training(),
        Finding("measured plans", str(wisdom.folder())),
        _machine(cost_model.factors(torch.get_num_threads())),
    ]


def _machine(factors: dict[str, float]) -> Finding:
    """Whether estimates follow what was measured here."""
    if not factors:
        note = "torchconv tune --machine measures this one, in half a minute"
        return Finding("estimates", "of another machine", note)
    values = sorted(factors.values())
    return Finding("estimates", f"measured here, {values[len(values) // 2]:.2f} times the shipped ones")


def _kernels() -> Finding:
    """Whether the compiled kernels are used, and with the best instructions that the processor has."""
    from ..compute.native import loader

    if not loader.available():
        return Finding("compiled kernels", "off", f"{loader.off()}; {COST}")
    used, best = loader.instructions(), loader.best_instructions()
    note = "" if used == best else f"the processor has {best}, which {loader.VARIABLE} leaves unused"
    return Finding("compiled kernels", f"on, {used}", note)


def _training() -> Finding:
    if missing := ", ".join(module for module in TRAIN if find_spec(module) is None):
        note = f"{missing} missing: no torchconv train. {install('train')}"
        return Finding("torchconv[train]", "not installed", note)
    return Finding("torchconv[train]", "installed")
