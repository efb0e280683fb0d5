"""How the code is cut: imports run one way, the maps tell the truth, and each heavy thing has one home."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from steepest.losses import LOSSES, LogLoss
from steepest.methods import METHODS
from steepest.step_sizes import SCHEDULES, SEARCHES, STEP_SIZES, Auto

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "steepest"
CRATE = ROOT / "src"

#: A module imports from its own row and the rows above it, never in a circle. Rows may name what is yet to come.
PYTHON_ROWS = [
    ["errors"],
    ["validation"],
    ["threads"],
    ["tables", "data"],
    ["losses"],
    ["penalties"],
    ["step_sizes"],
    ["updates"],
    ["methods"],
    ["batches"],
    ["design"],
    ["problem"],
    ["moments"],
    ["blocks"],
    ["survey"],
    ["backends"],
    ["result", "curves", "progress"],
    ["choice"],
    ["files"],
    ["tensor_file"],
    ["checkpoint"],
    ["distributed"],
    ["sources"],
    ["streams"],
    ["setup", "outcome"],
    ["segments"],
    ["descend"],
    ["statistics"],
    ["surface"],
    ["estimators"],
    ["__init__"],
    ["metrics"],
    ["preprocessing"],
    ["model", "model_io"],
    ["compression"],
    ["onnx_nodes", "onnx_pipeline", "onnx_export"],
    ["plot"],
    ["training"],
    ["report", "cli"],
    ["__main__"],
]
RUST_ROWS = [
    ["real"],
    ["error"],
    ["fault"],
    ["memory"],
    ["lanes"],
    ["ahead"],
    ["lines"],
    ["elementary"],
    ["loss", "penalty"],
    ["design"],
    ["sample"],
    ["reduce"],
    ["pass"],
    ["moments"],
    ["objective"],
    ["scaling"],
    ["hessian"],
    ["spectrum"],
    ["statistics"],
    ["least_squares"],
    ["coordinate"],
    ["quadratic"],
    ["empirical"],
    ["state"],
    ["batches"],
    ["step", "line_search", "method"],
    ["stopping"],
    ["descend"],
    ["python"],
]
#: What the files of ``backends`` import of each other. The folder's own module chooses among those that compute.
BETWEEN_BACKENDS = {
    ("__init__", "array"),
    ("__init__", "cupy"),
    ("__init__", "rust"),
    ("array", "least_squares"),
    ("array", "loop"),
    ("array", "objective"),
    ("coordinate", "line_search"),
    ("blocks", "array"),
    ("blocks", "cupy"),
    ("blocks", "objective"),
    ("blocks", "spectrum"),
    ("cupy", "array"),
    ("cupy", "device"),
    ("cupy", "kernels"),
    ("cupy", "resident"),
    ("cupy", "streamed"),
    ("device", "kernels"),
    ("device", "least_squares"),
    ("device", "objective"),
    ("device", "scores"),
    ("device", "spectrum"),
    ("device", "streamed"),
    ("least_squares", "coordinate"),
    ("least_squares", "objective"),
    ("loop", "coordinate"),
    ("loop", "line_search"),
    ("objective", "rounding"),
    ("objective", "spectrum"),
    ("resident", "kernels"),
    ("resident", "least_squares"),
    ("resident", "loop"),
    ("scores", "kernels"),
    ("streamed", "kernels"),
}
#: What only some modules may name, and which.
PYTHON_HOMES = {
    "_steepest": {"__init__.py", "backends/rust.py", "moments.py", "threads.py"},
    "cupy": {"backends/cupy.py"},
    "dask": {"distributed/__init__.py", "distributed/cluster.py"},
    "scipy": {"design.py", "estimators/base.py"},
}
RUST_HOMES = {
    "rayon": {"reduce.rs"},
    "pyo3": {"python/mod.rs", "python/problem.rs", "python/process.rs", "python/statistics.rs"},
    "numpy": {"python/mod.rs", "python/problem.rs", "python/statistics.rs"},
    "pulp": {"lanes.rs", "lines/mod.rs", "lines/short.rs", "real.rs"},
    "unsafe": {"ahead.rs"},
}
#: How often `unsafe` stands there: once, for a hint to the processor.
UNSAFE_BLOCKS = 1
#: Files that may index, which panics where a slice is too short: kernels, whose slices were checked before; each says
#: where. Of a folder the first file stands for all.
INDEXING = {
    "coordinate.rs",
    "design/csr.rs",
    "design/dense.rs",
    "elementary.rs",
    "lanes.rs",
    "least_squares.rs",
    "lines/mod.rs",
    "loss/mod.rs",
    "pass.rs",
    "quadratic.rs",
    "sample.rs",
    "statistics.rs",
}
#: Files where sums and products of integers are checked or saturating: what a user gives meets these first.
CHECKED_ARITHMETIC = {"memory.rs", "objective.rs", "python/mod.rs", "state.rs"}
MOST_LINES = 420
MOST_FUNCTION_LINES = 60

PYTHON_FILES = sorted(PACKAGE.rglob("*.py"))
RUST_FILES = sorted(CRATE.rglob("*.rs"))
#: Every rule for step sizes: those asked for by name, and the schedules.
STEP_SIZE_RULES = (Auto, *SCHEDULES, *SEARCHES)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE if PACKAGE in path.parents else CRATE).as_posix()


def module(path: Path) -> str:
    """Return the name of a file, or of the folder that holds it: a folder is one module to the others."""
    return relative(path).split("/")[0].removesuffix(path.suffix)


every_python_file = pytest.mark.parametrize("path", PYTHON_FILES, ids=relative)
every_rust_file = pytest.mark.parametrize("path", RUST_FILES, ids=relative)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from nodes(node)


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, at the top or in a function."""
    names = set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sibling(name: str) -> str | None:
    """Return the module of the package that a dotted name is of; a name of the package itself is of ``__init__``."""
    first, *rest = name.split(".")
    if first != "steepest":
        return None
    is_module = bool(rest) and ((PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").exists())
    return rest[0] if is_module or rest[:1] == ["_steepest"] else "__init__"


def python_imports(path: Path) -> set[str]:
    return {found for found in map(sibling, imported(path)) if found not in {None, "_steepest"}} - {None, module(path)}


def rust_code(path: Path) -> str:
    """Return the text without comments and without the tests, which are at its end or in a file of their own."""
    if path.name == "tests.rs":
        return ""
    code, _, tests = path.read_text(encoding="utf-8").partition("#[cfg(test)]\n")
    last = r"mod tests( \{\n.*\n\}|;)\n"
    assert not tests or re.fullmatch(last, tests, flags=re.DOTALL), f"{path.name}: tests come last"
    return re.sub(r"//.*", "", code)


def rust_imports(path: Path) -> set[str]:
    code = rust_code(path)
    assert "crate::{" not in code, f"{path.name}: one use for each module"
    return set(re.findall(r"\bcrate::(\w+)", code)) - {module(path)}


def rank(rows: list[list[str]], name: str) -> int:
    (row,) = [i for i, names in enumerate(rows) if name in names] or [-1]
    assert row >= 0, f"{name} has no row: add it to the list above and to the map"
    return row


def test_scanners_see_imports() -> None:
    """At the top and in functions, but not what only type checkers or tests see."""
    assert {"backends", "errors", "progress"} <= python_imports(PACKAGE / "descend.py")
    assert "result" not in python_imports(PACKAGE / "curves.py")
    assert {"design", "error", "lanes", "memory", "real", "reduce"} == rust_imports(CRATE / "pass.rs")
    assert "descend" in rust_imports(CRATE / "python" / "mod.rs")
    assert "design" in rust_imports(CRATE / "hessian.rs")
    assert sibling("steepest.backends.array.ArrayBackend") == "backends"
    assert sibling("steepest.descend") == "descend"
    assert sibling("steepest.Fit") == "__init__"
    assert sibling("numpy.errors") is None


@every_python_file
def test_python_imports_run_one_way(path: Path) -> None:
    own = rank(PYTHON_ROWS, module(path))
    later = {name for name in python_imports(path) if rank(PYTHON_ROWS, name) > own}
    assert not later, f"{relative(path)} imports {later}, which come after it"


@every_rust_file
def test_rust_imports_run_one_way(path: Path) -> None:
    if path.name != "lib.rs":
        own = rank(RUST_ROWS, module(path))
        later = {name for name in rust_imports(path) if rank(RUST_ROWS, name) > own}
        assert not later, f"{relative(path)} imports {later}, which come after it"


def test_no_circle_of_imports() -> None:
    python: dict[str, set[str]] = {}
    for path in PYTHON_FILES:
        # Every import runs __init__ first; what counts is who asks for names of it.
        python.setdefault(module(path), set()).update(python_imports(path))
    rust: dict[str, set[str]] = {}
    for path in RUST_FILES:
        rust.setdefault(module(path), set()).update(rust_imports(path))
    for graph in (python, rust):
        assert list(graphlib.TopologicalSorter(graph).static_order())


def test_backends_know_as_little_as_can_be_of_each_other() -> None:
    between = {
        (path.stem, name.removeprefix("steepest.backends.").split(".")[0])
        for path in (PACKAGE / "backends").glob("*.py")
        for name in imported(path)
        if name.startswith("steepest.backends.")
    }
    assert between == BETWEEN_BACKENDS
    files = {path.stem for path in (PACKAGE / "backends").glob("*.py")}
    assert files == {name for pair in BETWEEN_BACKENDS for name in pair}


@pytest.mark.parametrize("name", PYTHON_HOMES)
def test_python_homes(name: str) -> None:
    # A module of the package may have the name of what it alone imports.
    parts = {
        path: [found.removeprefix("steepest.backends.cupy").split(".") for found in imported(path)]
        for path in PYTHON_FILES
    }
    users = {relative(path) for path, names in parts.items() if any(name in found for found in names)}
    assert users <= PYTHON_HOMES[name]


@pytest.mark.parametrize("name", RUST_HOMES)
def test_rust_homes(name: str) -> None:
    users = {relative(path) for path in RUST_FILES if re.search(rf"\b{name}\b", rust_code(path))}
    assert users == RUST_HOMES[name]


def test_unsafe_code_is_denied() -> None:
    assert "#![deny(unsafe_code)]" in (CRATE / "lib.rs").read_text(encoding="utf-8").splitlines()
    allowing = {relative(path) for path in RUST_FILES if "allow(unsafe_code)" in path.read_text(encoding="utf-8")}
    assert allowing == RUST_HOMES["unsafe"]


def test_what_may_panic_is_denied() -> None:
    """Where it is allowed all the same, a reason is said."""
    denying: dict[str, set[str]] = {}
    allowing: dict[str, set[str]] = {}
    for path in RUST_FILES:
        text = path.read_text(encoding="utf-8")
        allowed = re.findall(r"clippy::(\w+),\s+reason = \"", text)
        denied = re.findall(r"^#!\[cfg_attr\(not\(test\), deny\((.*)\)\)\]$", text, flags=re.MULTILINE)
        denied = re.findall(r"clippy::(\w+)", " ".join(denied))
        assert len(allowed) + len(denied) == text.count("clippy::"), relative(path)
        for lints, files in ((allowed, allowing), (denied, denying)):
            for lint in lints:
                files.setdefault(lint, set()).add(relative(path))
    everywhere = {lint: {"lib.rs"} for lint in ("expect_used", "indexing_slicing", "panic", "unwrap_used")}
    assert denying == everywhere | {"arithmetic_side_effects": CHECKED_ARITHMETIC}
    assert allowing == {"indexing_slicing": INDEXING, "panic": {"python/process.rs"}}


def test_unsafe_code_says_why_it_is_safe() -> None:
    n_blocks = 0
    for path in RUST_FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bunsafe\b", line.partition("//")[0]):
                n_blocks += 1
                comment = list(itertools.takewhile(lambda line: line.strip().startswith("//"), lines[number - 1 :: -1]))
                assert comment, f"{relative(path)}:{number + 1}"
                assert comment[-1].strip().startswith("// SAFETY: ")
    assert n_blocks == UNSAFE_BLOCKS


@pytest.mark.parametrize("path", PYTHON_FILES + RUST_FILES, ids=relative)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@every_python_file
def test_what_a_subclass_must_have_is_abstract(path: Path) -> None:
    """Then a class that lacks it cannot be made, rather than fail at its first fit."""
    assert "NotImplementedError" not in path.read_text(encoding="utf-8")


@every_python_file
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A signature is a table of its own.
            length = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
            if ast.get_docstring(node) is not None:
                prose = node.body[0]
                length -= (prose.end_lineno or prose.lineno) - prose.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{relative(path)}: {node.name} has {length} lines"


def test_map_of_the_package() -> None:
    """The table names every module, row by row in the order of imports."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
    table = text.partition("======\n")[2]
    found = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line[:20])]
    entry_points = {"__init__", "__main__"}
    files = {module(path) for path in PYTHON_FILES}
    assert found == [name for row in PYTHON_ROWS for name in row if name in files - entry_points]
    assert files <= set(found) | entry_points


def test_map_of_the_crate() -> None:
    text = (CRATE / "lib.rs").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("//! | ")][1:]
    found = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert found == [name for row in RUST_ROWS for name in row]
    assert set(found) == {module(path) for path in RUST_FILES} - {"lib"}
    assert found == re.findall(r"^(?:pub )?mod (\w+);", text, flags=re.MULTILINE)


def test_the_oldest_versions_that_are_tested_are_those_that_are_asked_for() -> None:
    asked = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    tested = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests" / "oldest.txt").read_text(), flags=re.MULTILINE))
    assert {"numpy", "scikit-learn", "narwhals"} <= set(tested)
    for name, version in tested.items():
        assert f"{version}.".startswith(f"{asked[name]}."), name


def rust_module(name: str) -> str:
    """Return the code of a module, all files of it."""
    return "\n".join(rust_code(path) for path in RUST_FILES if module(path) == name)


def rust_registry(name: str, function: str, pattern: str) -> set[str]:
    """Return the names that a function of a module of the core knows, which are those that its error lists."""
    found = rf"^( *)((?:pub )?fn {function}\(.*?\n)\1}}\n"
    (body,) = re.findall(found, rust_module(name), flags=re.DOTALL | re.MULTILINE)
    names = set(re.findall(pattern, body[1]))
    (listed,) = re.findall(r'known: "([\w, ]+)"', body[1])
    assert names == set(listed.split(", "))
    return names


def test_both_registries_know_the_same_losses() -> None:
    names = rust_registry("loss", "from_name", r'"(\w+)" => Ok')
    softmax = [LogLoss(n_classes=3, probabilities=probabilities) for probabilities in (False, True)]
    assert names == {loss().kernel for loss in LOSSES.values()} | {loss.kernel for loss in softmax}
    assert {loss.name for loss in LOSSES.values()} <= set(LOSSES)


def test_both_registries_know_the_same_methods() -> None:
    names = rust_registry("method", "build", r'"(\w+)"(?: if [^=]*== 0\.0)? => Box')
    assert names == set(METHODS) == {method.name for method in METHODS.values()}


def test_both_registries_know_the_same_step_sizes() -> None:
    names = rust_registry("method", "rule", r'\("(\w+)", \S+\) => Box')
    assert names == {rule.name for rule in STEP_SIZE_RULES}
    assert {rule.name: rule for rule in STEP_SIZE_RULES}.items() >= STEP_SIZES.items()


def test_the_core_reads_the_settings_that_descriptions_have() -> None:
    text = rust_module("method")
    for prefix, kinds in ((r"method\.", METHODS.values()), (r"(?<!\.)", STEP_SIZE_RULES)):
        fields = {field.name for kind in kinds for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
        assert set(re.findall(rf'{prefix}get\("(\w+)"\)', text)) == fields
