"""The dependencies that docs/architecture.md allows: between packages, between files, and of functions."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator

import grimp
import pytest

from tests.conftest import ROOT

ALLOWED = {
    "landmarks": set(),
    "landmarks_client": set(),
    "shots": {"landmarks"},
    "service": {"landmarks", "landmarks_client", "shots"},
    "train": {"landmarks"},
}
"""The packages that each package may import besides itself."""

NNCF = "changes PyTorch, so that training in the same process crashes, and may be missing"
FUNCTION_LEVEL_IMPORTS = {
    ("service/bootstrap.py", "service.observability.tracing"): "its packages are the optional extra `otel`",
    ("service/__main__.py", "service.cli.track"): "its packages are the optional extra `vfx`",
    ("shots/exporters/__init__.py", "shots.exporters"): "its module `usd` needs the optional extra `usd`",
    ("train/export/quantize.py", "nncf"): NNCF,
    ("train/export/quantize.py", "nncf.quantization.advanced_parameters"): NNCF,
}
"""Every import inside a function of `service`, `shots` and `train`, and its reason."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The imports between the modules of all packages, those for type checking included."""
    return grimp.build_graph(*ALLOWED, cache_dir=None)


def package_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_those_below_it(graph: grimp.ImportGraph, package: str) -> None:
    for module in graph.modules:
        if package_of(module) == package:
            imported = {package_of(each) for each in graph.find_modules_directly_imported_by(module)}
            assert imported <= ALLOWED[package] | {package}, module


def test_model_repo_imports_only_landmarks() -> None:
    """Its files are no package: Triton loads them by path, where `landmarks` is installed and nothing else is."""
    files = list((ROOT / "model_repo").rglob("*.py"))
    assert files
    own = {path.stem for path in files}
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    for path in files:
        imported = {package_of(module) for module in imports(ast.parse(path.read_text(encoding="utf-8")))}
        assert imported & ours - own <= {"landmarks"}, path


@pytest.mark.parametrize(
    "package",
    ["landmarks", "landmarks_client", "service", "shots", "train"],
)
def test_no_files_import_each_other_in_a_circle(graph: grimp.ImportGraph, package: str) -> None:
    modules = {module for module in graph.modules if package_of(module) == package}
    sorter = graphlib.TopologicalSorter(
        {module: modules & graph.find_modules_directly_imported_by(module) for module in modules}
    )
    sorter.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "package",
    ["service", "shots", "train"],
)
def test_functions_import_nothing_but_what_is_listed_with_its_reason(package: str) -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in (ROOT / package).rglob("*.py")
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
        for module in imports(function)
    }
    assert found == {key for key in FUNCTION_LEVEL_IMPORTS if key[0].startswith(f"{package}/")}


def test_the_settings_load_no_heavy_package() -> None:
    """What `import landmarks` may load is tested in tests/landmarks/test_contract.py."""
    unwanted = ("grpc", "tritonclient", "cv2", "prometheus_client")
    code = f"import sys, service.settings; print([name for name in {unwanted} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_service_needs_nothing_of_the_extra_for_shots() -> None:
    code = (
        "import sys\n"
        "for name in ('av', 'fileseq', 'OpenImageIO', 'PyOpenColorIO', 'scipy'): sys.modules[name] = None\n"
        "import service.server"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def functions(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(tree: ast.AST) -> Iterator[str]:
    """The module of every import below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
