"""The laws of the house hold for the package, and each is shown to turn red by a planted fault."""

import ast

import pytest

import house

KNOWN = house.trees()
MODULES = [module for module, path in house.paths().items() if path.name != "__init__.py"]
LAWS = [house.climbs, house.circles, house.rounding, house.torch_below, house.namesakes, house.long_functions]
FAULTS = {
    house.climbs: ("network.graph", "from ..language.parser import parse"),
    house.circles: ("description.axis", "def late():\n    from .convolution import Convolution"),
    house.rounding: ("tracing.recorder", "outputs = (size - 1) // axis.stride + 1"),
    house.torch_below: ("network.graph", "def numbers():\n    import torch.nn"),
    house.namesakes: ("network.graph", "class Convolution: ..."),
    house.long_functions: ("network.graph", "def long():\n" + "    pass\n" * 41),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law):
    assert not list(law(KNOWN)), "\n" + "\n".join(law(KNOWN))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_planted_fault_breaks_the_law(law):
    module, fault = FAULTS[law]
    planted = ast.Module([*KNOWN[module].body, *ast.parse(fault).body], [])
    assert len(list(law({**KNOWN, module: planted}))) > len(list(law(KNOWN)))


@pytest.mark.parametrize(
    "fault",
    ["import torch", "divmod(size, self.stride)", "size %= axis.dilation", "-(-size // strides[0])"],
)
def test_faults_in_other_words_are_found_too(fault):
    planted = {**KNOWN, "network.graph": ast.Module([*KNOWN["network.graph"].body, *ast.parse(fault).body], [])}
    laws = house.torch_below, house.rounding
    assert sum(len(list(law(planted))) for law in laws) > sum(len(list(law(KNOWN))) for law in laws)


def test_no_two_modules_differ_by_an_ending():
    assert not list(house.endings(MODULES))
    assert list(house.endings([*MODULES, "compute.planner", "compute.plan"])) == ["plan and planner"]


@pytest.mark.parametrize("module", house.paths())
def test_files_are_short(module):
    lines = len(house.paths()[module].read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{module} has {lines} lines"


def test_folders_can_be_taken_in_at_a_glance():
    folders: dict[str, int] = {}
    for path in house.SOURCE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
            folder = str(path.parent.relative_to(house.SOURCE))
            folders[folder] = folders.get(folder, 0) + 1
    assert max(folders.values()) <= 16, folders
    assert sum(folders.values()) <= 260, folders  # five rooms are still to be built


@pytest.mark.parametrize("module", [m for m, path in house.paths().items() if path.name == "__init__.py"])
def test_every_folder_says_what_lives_there(module):
    said = ast.get_docstring(KNOWN[module]) or ""
    assert len(said.splitlines()) >= 3, f"{module or 'torchconv'}/__init__.py does not say what lives there"
    assigned = {ast.unparse(node) for node in ast.walk(KNOWN[module]) if isinstance(node, ast.Name)}
    assert "__all__" in assigned, f"{module or 'torchconv'}/__init__.py does not say what is public"
