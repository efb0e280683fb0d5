"""The CUDA source on a CPU: held to float64 under every order of threads, to a sanitizer, and to bugs planted in it."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import cuda_cases
import cuda_scores
from cuda_cases import CASES, Case, check, check_sparse, check_sums, usual_kernels
from cuda_scores import SCORE_CASES, ScoreCase, check_scores
from fake_gpu import COMPILER, Array, FakeCupy, needs_compiler
from samples import Sample
from steepest.backends import kernels
from steepest.backends.kernels import FORMULAS, STORAGES, FusedPass, Layout, layout_of, layout_of_scores
from steepest.backends.scores import ScorePass
from steepest.losses import LogLoss
from strategies import KINDS
from tolerance import tolerance

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def fake(shim_folder: Path) -> FakeCupy:
    fake = FakeCupy(shim_folder)
    fake.bundle = [*usual_kernels()]
    return fake


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_pass_is_the_definition_in_any_order_of_threads(fake: FakeCupy, case: Case) -> None:
    whole_vectors = layout_of(case.d, case.storage) is not None
    expected = "ROW_PASS" if whole_vectors and cuda_cases.is_by_rows(case) else "ANY_PASS"
    assert check(fake, case) == expected


def test_cases_are_of_every_loss_storage_and_kernel() -> None:
    softmax = {f"Softmax<{n_classes}>" for n_classes in (3, kernels.MOST_CLASSES)}
    assert set(map(cuda_cases.formula_of, CASES)) >= {*FORMULAS.values(), *softmax}
    assert {case.storage for case in CASES if case.n_classes} == set(STORAGES)
    assert {case.storage for case in CASES} == set(STORAGES)
    layouts = {layout_of(case.d, case.storage) for case in CASES if cuda_cases.is_by_rows(case)}
    assert {layout.lanes for layout in layouts if layout} >= {1, 2, 4, 8, 16, 32}
    assert {layout.own for layout in layouts if layout} == {1, 2, 4, 8}


@pytest.mark.parametrize("case", SCORE_CASES, ids=lambda case: "-".join(map(str, case)))
def test_scores_become_slopes_in_any_order_of_threads(fake: FakeCupy, case: ScoreCase) -> None:
    is_wide = layout_of_scores(case.width, case.dtype) is None
    assert check_scores(fake, case) == ("WIDE_PASS" if is_wide else "SCORE_PASS")


def test_cases_of_scores_are_of_every_loss_and_layout() -> None:
    layouts = {layout_of_scores(case.width, case.dtype) for case in SCORE_CASES}
    assert {layout.lanes for layout in layouts if layout} == {1, 2, 8, 16, 32}
    assert {layout.own for layout in layouts if layout} == {1, 2, 4, 8, 16}
    assert {layout.at_once for layout in layouts if layout} == {1, 2, 4}
    assert {kernels.formula_by_columns(cuda_scores.posed(case)[1]) for case in SCORE_CASES} == {
        *(f"Mean<{formula}>" for formula in FORMULAS.values()),
        *kernels.JOINT_FORMULAS.values(),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["mse", "binary", "huber", "poisson", "squared_hinge"])
def test_point_functions_are_the_portable_formulas(fake: FakeCupy, kind: str, dtype: Any) -> None:
    """Row by row, at both zeros, where formulas change, far out, and among numbers that are hardly any."""
    largest = 60 if kind == "poisson" else 1e4
    scores = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -3.0, 17.0, -17.0, largest, -1e4, 1e-30, -1e-30]
    scores += [float(np.finfo(dtype).smallest_subnormal)]
    y, zeros = np.array([0.0, 1.0]), np.zeros(1)
    loss = Sample(KINDS[kind].loss, np.zeros((2, 1)), y, zeros, 0.0, n_classes=KINDS[kind].n_classes).problem().loss
    for target in [-1.0, 1.0] if kind == "squared_hinge" else [0.0, 1.0]:
        targets, z = np.full(len(scores), target, dtype), np.array(scores, dtype)
        with np.errstate(all="ignore"):
            values, slopes = loss.value_and_residual(np, targets, z)
        for row in range(len(scores)):
            fused = FusedPass(fake, loss, Array(np.ones((1, 1), dtype)), (Array(targets[:1]), None, None), 1)
            slope, intercept_slope, value = fused(Array(np.array([z[row], 0.0]))).values
            assert slope == intercept_slope
            for found, expected in ((value, values[row]), (slope, slopes[row])):
                slack = tolerance(dtype, 4) * max(abs(expected), abs(target), abs(z[row]) if kind == "poisson" else 0)
                assert abs(found - expected) <= slack + float(np.finfo(dtype).tiny), (target, z[row])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_is_the_portable_formula(fake: FakeCupy, dtype: Any) -> None:
    """Where classes are equal, where one is far ahead of all, and where a class that is far behind is the row's."""
    largest = float(np.finfo(dtype).max)
    rows = [[0.0, -0.0, 0.0, 0.0], [1.0, 2.0, 3.0, -1.0], [-1e4, 0.0, 1e4, 1.0], [largest, -largest, 0.0, 1.0]]
    loss = LogLoss(n_classes=4)
    for target, row in itertools.product(range(4), rows):
        y, z = np.array([target], dtype), np.array([row], dtype)
        with np.errstate(all="ignore"):
            values, slopes = loss.value_and_residual(np, y, z)
        fused = FusedPass(fake, loss, Array(np.ones((1, 1), dtype)), (Array(y), None, None), 1)
        found = fused(Array(np.append(z[0], np.zeros(4)))).values
        assert np.array_equal(found[:4], found[4:8])
        slack = tolerance(dtype, 4)
        assert np.all(np.abs(found[:4] - slopes[0]) <= slack), (target, row)
        assert found[8] == values[0] or abs(found[8] - values[0]) <= slack * max(1, abs(values[0])), (target, row)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [9, 600])
def test_softmax_of_scores_is_the_portable_formula(fake: FakeCupy, width: int, dtype: Any) -> None:
    """Where classes are equal, where one is far ahead of all, where one is no number, whichever class is the row's."""
    largest = float(np.finfo(dtype).max)
    firsts = [[0.0, -0.0, 0.0], [-1e4, 0.0, 1e4], [largest, -largest, 0.0], [np.inf, 0.0, 1.0], [0.0, np.nan, 1.0]]
    z = np.zeros((3 * len(firsts), width), dtype)
    z[:, -3:] = np.repeat(firsts, 3, axis=0)
    y = (width - 1 - np.arange(len(z)) % 3).astype(dtype)
    loss = LogLoss(n_classes=width)
    with np.errstate(all="ignore"):
        values, slopes = loss.value_and_residual(np, y, z)
    for row in range(len(z)):
        found = Array(z[row : row + 1].copy())
        total = ScorePass(fake, loss, dtype, 1)(found, (Array(y[row : row + 1]), None, None)).values[-1]
        slack = tolerance(dtype, width)
        np.testing.assert_allclose(found.values[0], slopes[row], rtol=slack, atol=slack)
        np.testing.assert_allclose(total, values[row], rtol=slack, atol=slack)


@pytest.mark.parametrize(("n_parts", "width"), [(1, 3), (255, 32), (257, 34), (70_000, 2)])
def test_sums_of_chunks(fake: FakeCupy, n_parts: int, width: int) -> None:
    check_sums(fake, n_parts, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("index", "width"), [(np.int32, 1), (np.int64, 3)])
def test_sparse_products(fake: FakeCupy, dtype: Any, index: Any, width: int) -> None:
    check_sparse(fake, dtype, index, width)


@pytest.mark.parametrize("storage", STORAGES)
def test_layouts_hold_every_entry_of_a_row_once(storage: str) -> None:
    entries = 16 // {"float64": 8, "float32": 4}.get(storage, 2)
    longest = 0
    for d in range(1, 3000):
        layout = layout_of(d, storage)
        if layout is None:
            continue
        assert d % entries == 0
        longest = d
        lanes, vectors, at_once = layout
        assert lanes * vectors * entries >= d
        # No lane more than is needed: half as many of either would not do.
        assert lanes == 1 or lanes // 2 * vectors * entries < d
        assert vectors == 1 or lanes * (vectors // 2) * entries < d
        assert 1 <= at_once <= lanes <= 32
        assert all(number & (number - 1) == 0 for number in layout)
    assert longest == (512 if storage == "float64" else 1024)
    assert layout_of(entries, storage) == Layout(1, 1, 1)


@pytest.mark.parametrize("number", ["float32", "float64"])
def test_layouts_hold_every_score_of_a_row_once(number: str) -> None:
    widest = 512 if number == "float32" else 256
    assert layout_of_scores(widest + 1, number) is None
    for width in range(1, widest + 1):
        layout = layout_of_scores(width, number)
        assert layout is not None
        lanes, own, at_once = layout
        assert lanes * own >= width
        # No lane more than is needed: half as many of either would not do.
        assert lanes == 1 or lanes // 2 * own < width
        assert own <= 2 or lanes * (own // 2) < width
        assert 1 <= at_once <= lanes <= 32
        # What a block takes at a time is of one chunk.
        assert at_once * (32 // lanes) * 4 <= kernels.CHUNK_ROWS


class Plant(NamedTuple):
    """A bug: the kernel it is for, and what it makes of the source."""

    kernel: str
    old: str
    new: str


BARRIER = "__syncthreads();\n"
PLANTS = {
    "no barrier before the sum of the warps": Plant("row", f"{BARRIER}    for (int c", "\n    for (int c"),
    "no barrier before the next chunk": Plant("row", f"{BARRIER}}}\n\n// ---- rows of w", "\n}\n\n// ---- rows of w"),
    "no barrier before the columns": Plant("any", f"{BARRIER}            for (int c", "\n            for (int c"),
    "no barrier after the columns": Plant("any", f"{BARRIER}        }}\n        if (t", "\n        }\n        if (t"),
    "no barrier in the fold": Plant("fold", f"{BARRIER}    if (part", "\n    if (part"),
    "no guard at the tail": Plant("row", "if (own < end) rows", "rows"),
    "swapped sign": Plant("row", "slope = residual >", "slope = -residual >"),
    "row of another lane": Plant("row", "in_warp - lane + u)", "in_warp - lane + (u + 1) % ROWS)"),
    "last column forgotten": Plant("any", "column < d; column += WARP)", "column < d - 1; column += WARP)"),
    "a row's guard": Plant("softmax", "if (own < count) {", "if (lane < AT_ONCE) {"),
    "swapped sign of softmax": Plant(
        "softmax",
        "slopes[k] / total - (y == k ? A(1) : A(0))",
        "(y == k ? A(1) : A(0)) - slopes[k] / total",
    ),
    "another class": Plant("softmax", "parameters[K * d + k]", "parameters[K * d]"),
    "no barrier before the sums are begun anew": Plant(
        "softmax", f"{BARRIER}    }}\n}}\n\n// ---- the sums", "\n    }\n}\n\n// ---- the sums"
    ),
    "no barrier before the sum of the scores' warps": Plant("scores", f"{BARRIER}    for (int c", "\n    for (int c"),
    "no highest score": Plant("scores", "A below = z - highest", "A below = z"),
    "highest score of a lane": Plant("scores", "A other = __shfl_xor_sync", "A other = 0 * __shfl_xor_sync"),
    "swapped sign of slopes": Plant("scores", "return e / total - y", "return y - e / total"),
    "class of another column": Plant("scores", "targets[row] == column", "targets[row] == column + 1"),
    "rows after the last": Plant("scores", "A weight = row < end ? rows.weight(row) : A(0)", "A weight = 1"),
    "columns after the last": Plant("scores", "if (k * LANES + lane < width)", "if (true)"),
    "total of another row": Plant("scores", "lane % ROWS == u ?", "lane % ROWS == 0 ?"),
    "intercept of another column": Plant("scores", "z += intercept[column]", "z += intercept[0]"),
    "no mean over columns": Plant("scores", "value += own / width", "value += own"),
    "no barrier between highest and total": Plant("wide", f"{BARRIER}    return value", "\n    return value"),
    "total of a thread": Plant("wide", "row_total = joined(row_total, slots, Plus())", "row_total += 0"),
    "loss of a thread": Plant("wide", "total = joined(total, slots, Plus());\n        if", "if"),
    "sums of the row before": Plant("wide", "row == begin ? 0 : sums[column]", "row == begin ? 0 : 0"),
    "one entry too many": Plant("csr", "entry < indptr[row + 1]", "entry <= indptr[row + 1]"),
    "no barrier after the last fold": Plant("finish", f"{BARRIER}}}\n\n// ---- a point", "\n}\n\n// ---- a point"),
    "no barrier before what a block knows": Plant("finish", f"{BARRIER}    value = slots", "\n    value = slots"),
    "no barrier after what a block knows": Plant("finish", f"{BARRIER}    return value", "\n    return value"),
    "no barrier after the parameters": Plant("block", f"{BARRIER}    }}\n\n    // Make", "\n    }\n\n    // Make"),
    "no barrier after the pass": Plant("block", f"{BARRIER}}}\n\n// ---- the sums", "\n}\n\n// ---- the sums"),
    "no barrier after the moments": Plant("moments", f"{BARRIER}}}\n\n// ---- kernels", "\n}\n\n// ---- kernels"),
    "uphill": Plant("finish", "v.prox(v.point - step.size", "v.prox(v.point + step.size"),
    "a penalty on the intercept": Plant("finish", "j < n_coef() ? set.l1 : 0", "set.l1"),
    "slope of another score": Plant("several", "sums[n_coef() + j / d]", "sums[n_coef()]"),
    "shift of another score": Plant("several", "int j = k * d + threadIdx.x; j <", "int j = threadIdx.x; j <"),
    "value of another place": Plant("several", "sums[n_coef() + n_scores]", "sums[n_coef() + 1]"),
    "no end": Plant("block", ": step >= progress->last ", ": step > progress->last "),
    "a step after the end": Plant(
        "finish", "progress->step = ending ? reached", "progress->step = ending ? reached + 1"
    ),
    "no guard at the last rows": Plant(
        "block", ": n;\n            A part", ": begin + CHUNK_ROWS;\n            A part"
    ),
    "a step taken that is not good": Plant("momentum", "value <= now.bound + ", "value >= now.bound + "),
    "no way back": Plant("momentum", "point[j] = kept[j]", "point[j] = point[j]"),
    "no half": Plant("momentum", "now.size *= 0.5", "now.size *= 1"),
    "half although it carried": Plant("momentum", "if (!now.carries) now", "now"),
    "momentum goes on": Plant("nesterov", "if (Method::CARRIES) before[j] = kept[j]", "(void)before"),
    "acceleration goes on": Plant("nesterov", "now.t = 1;", ""),
    "another anchor": Plant("moments", "0.5 * slope * shift", "0.5 * slope"),
}
#: Those that only a sanitizer sees.
READS_PAST_THE_END = {
    "targets": Plant("row", "targets[row], parameter", "targets[row + 1], parameter"),
    "rows": Plant("row", "if (row < end && column < d)", "if (column < d)"),
    "rows of a batch": Plant("softmax", "warp + u * ANY_WARPS < count ?", "true ?"),
    "scores": Plant("scores", "row < end && column < width ? scores", "column < width ? scores"),
    "wide scores": Plant(
        "wide",
        "column < width; column += blockDim.x) {\n                h",
        "column <= width; column += blockDim.x) {\n                h",
    ),
    "records": Plant("block", "records[number + 1] =", "records[number + 2] ="),
    "columns": Plant("block", "row = threadIdx.x; row < n;", "row = threadIdx.x; row <= n;"),
    "the sums of chunks": Plant("finish", "p < end; p += FOLD_ROWS", "p <= end; p += FOLD_ROWS"),
    "shared memory": Plant("row", "sums[warp * width + d + 1] = total", "sums[ROW_WARPS * width + warp] = total"),
}


def ends(folder: Path, plants: dict[str, Plant], *flags: str, **environment: str) -> dict[str, str]:
    """Return how the cases ended without a bug, and with each."""
    completed = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "cuda_cases.py"), str(folder), *flags],
        input=json.dumps([(name, *plant) for name, plant in plants.items()]),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    found: dict[str, str] = {}
    report = completed.stdout + completed.stderr
    for name in ["no bug", *plants]:
        found[name] = "; ".join(re.findall(rf"^{name}: (.*)$", completed.stdout, flags=re.MULTILINE))
    found["sanitizer"] = "\n".join(re.findall(r"ERROR: AddressSanitizer.*", report))
    return found


@pytest.fixture(scope="module")
def planted(shim_folder: Path) -> dict[str, str]:
    return ends(shim_folder, PLANTS)


def test_without_a_bug_all_cases_hold(planted: dict[str, str]) -> None:
    assert planted["no bug"] == "holds"


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_bug_is_caught(plant: str, planted: dict[str, str]) -> None:
    """By a wrong sum, by sums that depend on the order of threads, or by the end of the process."""
    assert re.search(r"ended with (1|-11|-6)$", planted[plant]), planted[plant]


@cache
def sanitizer() -> str | None:
    """Return the library that a program without the sanitizer must load first, if there is one."""
    if COMPILER is None:
        return None
    found = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    path = Path(found.stdout.strip())
    return str(path) if path.is_absolute() else None


@pytest.fixture(scope="module")
def sanitized(shim_folder: Path) -> dict[str, str]:
    if sanitizer() is None:
        pytest.skip("g++ has no libasan here")
    environment = {"LD_PRELOAD": str(sanitizer()), "ASAN_OPTIONS": "detect_leaks=0"}
    return ends(shim_folder, READS_PAST_THE_END, "-fsanitize=address", **environment)


def test_no_kernel_leaves_its_arrays(sanitized: dict[str, str]) -> None:
    assert sanitized["no bug"] == "holds"
    assert len(sanitized["sanitizer"].splitlines()) == len(READS_PAST_THE_END)


@pytest.mark.parametrize("plant", READS_PAST_THE_END)
def test_sanitizer_sees_a_read_past_the_end(plant: str, sanitized: dict[str, str]) -> None:
    assert sanitized[plant] == "ended with 1"


def test_source_has_no_atomics_and_no_headers() -> None:
    code = re.sub(r"//.*", "", kernels.source())
    assert "atomic" not in code
    assert re.findall(r"#include.*", code) == ['#include "cuda_shim.hpp"']
