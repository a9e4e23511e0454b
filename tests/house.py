"""The source of the package as syntax trees, and the laws of the house: each gives a line for every breach."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "torchconv"
FLOORS = [  # from the ground up; within a floor a folder imports those to its left
    ["errors", "text", "faces"],
    ["description"],
    ["receptive", "network"],
    ["compute"],
    ["signal", "nn"],
    ["language", "tracing"],
    ["convert", "features", "segmentation"],
    ["inspection", "drawing"],
    ["training", "explorer", "cli"],
]
UPWARDS = {("description.convolution", "drawing")}  # conv.draw() is a method; the pictures come only when it is called
FOUNDATION = ("errors", "text", "faces", "description", "receptive", "network")
STEPS = ("stride", "dilation", "dilated")
ROUNDING = (ast.Div, ast.FloorDiv, ast.Mod)
ENDINGS = ("s", "er", "ers", "ing", "ings", "ed")

Trees = Mapping[str, ast.Module]


def module_of(path: Path) -> str:
    """The dotted name of a file inside the package; "" for its face."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def paths() -> dict[str, Path]:
    """Every file of Python by its module."""
    return {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def trees() -> dict[str, ast.Module]:
    """Every module as a syntax tree."""
    return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in paths().items()}


def imports(module: str, known: Trees, inside_functions: bool = True) -> set[str]:
    """The modules of the package that one imports; not those only for types."""
    tree = known[module]
    folder = module if any(other.startswith(f"{module}.") for other in known) else module.rpartition(".")[0]
    left_out = {id(inner) for node in ast.walk(tree) if _is_skipped(node, inside_functions) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in left_out:
            base = _base(node, folder if module else "")
            if base is not None:
                names = (f"{base}.{alias.name}".strip(".") for alias in node.names)
                found |= {name if name in known else base for name in names}
    return found - {module}


def _is_skipped(node: ast.AST, inside_functions: bool) -> bool:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return True
    return not inside_functions and isinstance(node, ast.FunctionDef)


def _base(node: ast.ImportFrom, folder: str) -> str | None:
    if not node.level:
        inside = node.module == "torchconv" or (node.module or "").startswith("torchconv.")
        return (node.module or "").removeprefix("torchconv").lstrip(".") if inside else None
    parts = folder.split(".") if folder else []
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def climbs(known: Trees) -> Iterator[str]:
    """Imports of a folder that is not on a lower floor, or to the left on the same one."""
    place = {folder: (floor, left) for floor, row in enumerate(FLOORS) for left, folder in enumerate(row)}
    for module in known:
        own = module.partition(".")[0]
        if own in ("", "__main__"):
            continue
        for target in sorted(imports(module, known)):
            folder = target.partition(".")[0]
            if own == folder or (module, folder) in UPWARDS or folder == "":
                continue
            if folder not in place or own not in place or place[folder] >= place[own]:
                yield f"{module} imports {target}, which is not on a lower floor or to its left"


def circles(known: Trees) -> Iterator[str]:
    """Modules that import each other round in a circle, inside functions too."""
    state: dict[str, bool] = {}

    def visit(module: str, above: list[str]) -> Iterator[str]:
        state[module] = False
        for target in sorted(imports(module, known)):
            if (module, target.partition(".")[0]) in UPWARDS or target not in known or not target:
                continue
            if state.get(target) is False:
                yield " > ".join([*above[above.index(target) :], target])
            elif target not in state:
                yield from visit(target, [*above, target])
        state[module] = True

    for module in known:
        if module not in state:
            yield from visit(module, [module])


def rounding(known: Trees) -> Iterator[str]:
    """Divisions by a stride or a dilation: only `description.shapes` rounds sizes and positions."""
    for module, tree in known.items():
        if module == "description.shapes":
            continue
        for node in ast.walk(tree):
            divisor = _divisor(node)
            if divisor is not None and any(word in ast.unparse(divisor) for word in STEPS):
                yield f"{module}, line {node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]


def _divisor(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ROUNDING):
        left = node.left if isinstance(node, ast.BinOp) else node.target
        is_text = isinstance(left, ast.JoinedStr) or (isinstance(left, ast.Constant) and isinstance(left.value, str))
        return None if is_text else (node.right if isinstance(node, ast.BinOp) else node.value)
    if isinstance(node, ast.Call) and len(node.args) == 2:
        name = ast.unparse(node.func).rpartition(".")[2]
        return node.args[1] if name in ("divmod", "floor_divide", "true_divide", "remainder", "fmod", "gcd") else None
    return None


def torch_below(known: Trees) -> Iterator[str]:
    """Imports of torch on the floors that need none, inside functions and for types too."""
    for module, tree in known.items():
        if module.partition(".")[0] not in FOUNDATION:
            continue
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.split(".")[0] == "torch" for name in names):
                yield f"{module}, line {node.lineno}, imports torch"  # type: ignore[attr-defined]


def namesakes(known: Trees) -> Iterator[str]:
    """Classes of one name in two modules."""
    places: dict[str, list[str]] = {}
    for module, tree in known.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    yield from (f"class {name} in {', '.join(found)}" for name, found in places.items() if len(found) > 1)


def endings(modules: Iterable[str]) -> Iterator[str]:
    """Modules of two names that differ by an ending only: plan and planner, field and fields."""
    names = {module.rpartition(".")[2] for module in modules}
    for name in sorted(names):
        stem = name[:-1] if name.endswith("e") else name
        yield from (
            f"{name} and {other}"
            for ending in ENDINGS
            for other in {name + ending, stem + ending, name + name[-1:] + ending}
            if name and other in names and other != name
        )


def long_functions(known: Trees, most: int = 40) -> Iterator[str]:
    """Functions of more lines than that, their docstrings left out."""
    for module, tree in known.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > most and not node.name.startswith("__init__"):
                    yield f"{module}.{node.name} has {lines} lines"
