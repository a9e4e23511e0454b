"""A file imports only files of lower floors, or files to its left on its own floor."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "torchconv"

# From the ground up; within a floor from left to right. A folder stands for its files in the order given or, where
# that is a set, for files that may import each other only downwards as their own folders say.
HOUSE = [
    "errors",
    "description.axis",
    "description.sharing",
    "description.connections",
    "description.notation",
    "description.shapes",
    "description.fitting",
    "description.counts",
    "description.pooling",
    "description.field",
    "description.progression",
    "description.resampling",
    "description.matrix",
    "description.gram",
    "description.pictures.raster",
    "description.pictures.drawing",
    "description.pictures.colours",
    "description.pictures.grids",
    "description.pictures.arithmetic",
    "description.pictures.connections",
    "description.pictures.weights",
    "description.pictures.pictured",
    "description.convolution",
    "description.adjoint",
    "network.operations",
    "network.pools",
    "network.regions",
    "network.elementwise",
    "network.merging",
    "network.trend",
    "network.field",
    "network.readings",
    "network.arrangements",
    "network.recorded",
    "network.graph",
    "network.reading",
    "network.fields",
    "compute.roles",
    "compute.memory",
    "compute.kept",
    "compute.layouts",
    "compute.borders",
    "compute.tables",
    "compute.reference",
    "compute.cost",
    "compute.faults",
    "compute.native.library",
    "compute.store",
    "compute.machine",
    "compute.native.operations",
    "compute.native.depthwise",
    "compute.native.transforms",
    "compute.native.unshared",
    "compute.native.tiled",
    "compute.native.pooling",
    "compute.algorithms.base",
    "compute.algorithms.torch_kernels",
    "compute.algorithms.torch_channels_last",
    "compute.algorithms.torch_bfloat16",
    "compute.algorithms.dense_table",
    "compute.algorithms.depthwise",
    "compute.algorithms.stride_one",
    "compute.algorithms.tiling",
    "compute.algorithms.tile_costs",
    "compute.algorithms.winograd",
    "compute.algorithms.correlation",
    "compute.algorithms.fourier",
    "compute.algorithms.separable",
    "compute.algorithms.phases",
    "compute.algorithms.patches",
    "compute.algorithms.unshared",
    "compute.algorithms.tiled",
    "compute.algorithms.sparse_matrix",
    "compute.algorithms.reference_loops",
    "compute.algorithms",
    "compute.wisdom",
    "compute.planner",
    "compute.trilinear",
    "compute.tensors",
    "compute.operator",
    "compute.pool_torch",
    "compute.pool_derivatives",
    "compute.pool_operator",
    "compute.measuring",
    "compute.calibration",
    "compute.plan",
    "compute.functional",
    "nn.init",
    "nn.setting",
    "nn.waiting",
    "nn.conv",
    "nn.transposed",
    "nn.variants",
    "nn.twin",
    "nn.dense",
    "nn.ties",
    "nn.matrix_tie",
    "nn.prior",
    "nn.penalty",
    "nn.pool",
    "nn.grid_pool",
    "nn.channel_pool",
    "nn.learned_pool",
    "nn.cells",
    "nn.cluster_pool",
    "nn.group_sparsity",
    "nn.region_pool",
    "nn.region_classifier",
    "nn.advice",
    "nn.timing",
    "nn.tuning",
    "nn",
    "language.syntax",
    "language.values",
    "language.layers",
    "language.words",
    "language.vocabulary",
    "language.construction",
    "language.architecture",
    "language.zoo",
    "language.parser",
    "translate.layers",
    "translate.build",
    "translate.watching",
    "translate.aten.call",
    "translate.aten.windows",
    "translate.aten.rearranging",
    "translate.aten.spectral",
    "translate.aten.sums",
    "translate.aten.table",
    "translate.recorder",
    "translate.whole",
    "translate.weightless",
    "translate.trace",
    "translate.sliding.layers",
    "translate.sliding.rules",
    "translate.sliding.calls",
    "translate.sliding.convert",
    "signal.job",
    "signal.views",
    "signal.nonfinite",
    "signal.compiled",
    "signal.sums",
    "signal.toeplitz",
    "signal.fourier",
    "signal.ways",
    "signal.ranges",
    "signal.derivatives",
    "signal.limbs",
    "signal.integers",
    "signal.objects",
    "signal.arrays",
    "inspection.described",
    "inspection.models",
    "inspection.receptive",
    "inspection.rows",
    "inspection.report",
    "inspection.inspect",
    "inspection.pictures",
    "inspection.running",
    "inspection.transforms",
    "inspection.grids",
    "inspection.equivariance",
    "inspection.effective",
    "inspection",
    "training",
    "complaints",
    "doctor",
    "planning",
    "inspecting",
    "cli",
    "__main__",
]
EMPTY = {
    "description",
    "description.pictures",
    "network",
    "compute",
    "compute.native",
    "language",
    "translate",
    "translate.aten",
    "translate.sliding",
    "signal",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def place(module: str) -> int:
    """The number of a module's place; the files of a folder that stands as a whole share it."""
    while module not in HOUSE:
        module, _, last = module.rpartition(".")
        assert last, "a file that has no place in the house"
    return HOUSE.index(module)


def imports(path: Path) -> set[str]:
    """The torchconv modules that a file imports, whether at its top or inside a function; not those only for types."""
    package = ["torchconv", *module_of(path).split(".")]
    if path.name != "__init__.py":
        package.pop()
    tree = ast.parse(path.read_text())
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in only_types:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            names = [f"{module}.{alias.name}" for alias in node.names]
            found |= {name if exists(name) else module for name in names}
        elif isinstance(node, ast.Import) and id(node) not in only_types:
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("torchconv.") for name in found if name.startswith("torchconv.")}


def exists(module: str) -> bool:
    path = SOURCE.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_go_down_or_left(path):
    module = module_of(path)
    if not module or module in EMPTY:
        assert not imports(path), f"{module or 'torchconv'}/__init__.py imports something"
        return
    own = module.split(".")[0]
    for target in imports(path):
        allowed = place(target) < place(module) or (own == target.split(".")[0] == HOUSE[place(module)])
        assert allowed, f"{module} imports {target}, which is not below it or to its left"


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250, f"{path.name} has {len(text.splitlines())} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__init__"):
            body = node.body[1:] if isinstance(node.body[0], ast.Expr) and ast.get_docstring(node) else node.body
            length = (node.end_lineno - body[0].lineno + 1) if body else 0
            assert length <= 40, f"{path.name}:{node.name} has {length} lines"


def test_only_shapes_rounds():
    """Sizes are divided in one file: elsewhere on the floor of descriptions there is no floor division of a size."""
    for path in (SOURCE / "description").glob("*.py"):
        text = path.read_text()
        if path.name != "shapes.py":
            assert "stride + 1" not in text.replace("(windows - 1) * axis.stride + 1", ""), path.name


def test_the_ground_floors_know_no_torch():
    for folder in ("description", "network"):
        for path in (SOURCE / folder).glob("*.py"):
            roots = {name.split(".")[0] for name in _roots(path)}
            assert "torch" not in roots, path.name


def _roots(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
