"""The public names: there, documented, typed, imported only when used, and all on the page of the API."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from docs import make_api

import torchconv as tc
from torchconv import errors

BARE = ("inspection", "nn", "segmentation", "Plan", "TorchconvError")  # no calls: they have no doctest
CONSUMER = """
import torchconv as tc
from torchconv.inspection import Report

report: Report = tc.inspect("lenet5")
layer: tc.nn.Conv2d = tc.nn.Conv2d(1, 1, 3)
y = tc.conv(*tc.nothing)
z: int = tc.widen(layer, "none")
"""


def typed(module):
    """The names that a type checker reads, with their modules, where a face is lazy."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        alias.asname or alias.name: node.module or alias.name
        for block in blocks
        for node in block.body
        for alias in node.names
    }


@pytest.mark.parametrize("face", make_api.FACES)
def test_every_public_name_is_there_and_typed(face):
    module = importlib.import_module(face)
    for name in make_api.names_of(face):
        assert inspect.getdoc(getattr(module, name)), f"{face}.{name}"
        assert name in dir(module)
    assert not typed(module) or sorted(typed(module)) == sorted(module.__all__)
    assert typed(module) == getattr(module, "_PLACES", typed(module))
    with pytest.raises(AttributeError, match="convolve_all"):
        _ = module.convolve_all


def test_the_page_of_the_api_has_every_public_name():
    page = make_api.PAGE.read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")[1:]}
    missing = [
        f"{face}.{name}"
        for face in make_api.FACES
        for name in make_api.names_of(face)
        if f"[`{name}`]" not in sections.get(face, "")
    ]
    assert not missing, f"not on docs/api.md: {', '.join(missing)}. Run {make_api.COMMAND}"
    assert page == make_api.page(), f"docs/api.md is not as the faces are. Run {make_api.COMMAND}"


@pytest.mark.parametrize(
    "name", [*(name for name in tc.__all__ if name not in BARE), *(f"nn.{name}" for name in tc.nn.__all__)]
)
def test_every_public_name_has_a_doctest(name):
    place, _, last = name.rpartition(".")
    assert ">>>" in inspect.getdoc(getattr(getattr(tc, place) if place else tc, last)), f"{name} has no doctest"


def test_type_checkers_of_others_see_the_names(tmp_path):
    assert resources.files("torchconv").joinpath("py.typed").is_file()  # wheels hold every file of the package
    (tmp_path / "user.py").write_text(CONSUMER)
    settings = {"extraPaths": [str(Path(tc.__file__).parent.parent)], "include": ["user.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    found = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout)
    said = [(one["range"]["start"]["line"], one["message"]) for one in found["generalDiagnostics"]]
    assert [line for line, _ in said] == [6, 7], said
    assert '"nothing" is not a known attribute' in said[0][1]
    assert '"Conv | Dense" is not assignable to declared type "int"' in said[1][1]


def test_importing_waits_for_nothing():
    code = "import sys, torchconv.cli.app; assert not {'torch', 'lightning', 'lark', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_is_of_the_one_family():
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == errors.__name__]
    assert len(kinds) >= 6
    assert all(issubclass(kind, tc.TorchconvError) and issubclass(kind, ValueError) for kind in kinds)


WORD = re.compile(r"- \*\*(.+?)\*\* \(\[`([\w.]+)`\]\(\.\./(.+?)\)\): .+\.")
GLOSSARY = (make_api.ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
WORDS = [WORD.fullmatch(line) for line in GLOSSARY if line.startswith("-")]


def test_the_glossary_is_short_and_in_order():
    words = [found[1].removeprefix("the ").lower() for found in WORDS]
    assert words == sorted({*words})
    assert 30 <= len(words) <= 40


@pytest.mark.parametrize("found", WORDS, ids=lambda found: found[1])
def test_words_of_the_glossary_have_their_place(found):
    place = f"torchconv.{found[2]}"
    module = found[3].removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert pkgutil.resolve_name(place) is not None
    assert f"{place}.".startswith(f"{module}.")
    assert (make_api.ROOT / found[3]).is_file()


PAGES = sorted([*make_api.ROOT.glob("*.md"), *make_api.ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_docs_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
