"""The CUDA kernels on a CPU, case by case: a module for the tests, and a program for a process with a sanitizer.

Every case runs under several orders of threads and several grids, whose results must be the same bits, and is held to
the definition in float64.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from cuda_descents import FEW_WAYS, WAYS, check_descent, kernels_of_ways
from cuda_scores import FEW_SCORES, SCORE_CASES, check_scores, kernels_of_scores
from fake_gpu import SCHEDULES, Array, FakeCupy
from samples import Sample, define
from steepest.backends import kernels, resident
from steepest.backends.kernels import CsrMatrix, FusedPass, add_up
from strategies import KINDS, observed
from tolerance import tolerance

#: Blocks: one for all chunks, so that it goes from one to the next, and one each.
GRIDS = (1, 1 << 16)
LARGEST_CHUNK = 512


class Case(NamedTuple):
    """A loss, how X is stored and laid out, its shape, whether rows have weights and offsets; classes of softmax."""

    kind: str
    storage: str
    n: int
    d: int
    layout: str = "rows"
    weighted: bool = False
    n_classes: int = 0


#: Every loss, every storage, every number of lanes and vectors, borders of chunks, both kernels.
CASES = [
    Case("mse", "float32", 1, 4),
    Case("binary", "float32", 511, 8, weighted=True),
    Case("huber", "float32", 515, 16),
    Case("poisson", "float32", 600, 28, weighted=True),
    Case("squared_hinge", "float32", 700, 32),
    Case("binary", "float32", 200, 128),
    Case("mse", "float32", 130, 132, weighted=True),
    Case("binary", "float32", 70, 512),
    Case("huber", "float32", 70, 1024, weighted=True),
    Case("binary", "float64", 600, 2),
    Case("poisson", "float64", 513, 30, weighted=True),
    Case("squared_hinge", "float64", 300, 64),
    Case("mse", "float64", 70, 512),
    Case("binary", "float16", 515, 8),
    Case("mse", "float16", 40, 1024, weighted=True),
    Case("poisson", "bfloat16", 600, 32),
    Case("huber", "bfloat16", 130, 256),
    Case("mse", "float32", 1, 1),
    Case("binary", "float32", 515, 3, weighted=True),
    Case("huber", "float32", 1030, 33),
    Case("poisson", "float32", 200, 301, weighted=True),
    Case("squared_hinge", "float64", 515, 7),
    Case("binary", "float64", 70, 1000, weighted=True),
    Case("mse", "float16", 515, 9),
    Case("squared_hinge", "bfloat16", 33, 2049),
    Case("binary", "float32", 515, 32, "columns"),
    Case("mse", "float32", 515, 32, "unaligned", weighted=True),
    Case("poisson", "float64", 515, 6, "strided"),
    Case("softmax", "float64", 515, 3, weighted=True, n_classes=3),
    Case("softmax", "float64", 70, 33, "columns", weighted=True, n_classes=8),
    Case("softmax", "float32", 70, 300, n_classes=4),
    Case("softmax", "float16", 130, 9, n_classes=5),
    Case("softmax", "bfloat16", 1, 64, "unaligned", n_classes=4),
]
#: By kernel, those that bugs are planted for: more than one chunk, a tail. A sanitizer takes long for every switch of
#: threads, and gets the last ones.
FEW = {
    "row": [Case("poisson", "float64", 513, 30), Case("huber", "float32", 35, 16)],
    "any": [Case("poisson", "float32", 515, 301), Case("binary", "float32", 35, 3, weighted=True)],
    "softmax": [
        Case("softmax", "float32", 545, 40, n_classes=3),
        Case("softmax", "float32", 35, 3, weighted=True, n_classes=3),
    ],
}

STORED: dict[str, Any] = {"bfloat16": ml_dtypes.bfloat16}


def formula_of(case: Case) -> str:
    """Return the name of the formula of a case."""
    return kernels.formula_of(sample_of(case)[0].problem().loss)


def is_by_rows(case: Case) -> bool:
    """Return whether a case has one score a row, and rows as they are best read."""
    return case.layout == "rows" and not case.n_classes


def kernels_of(cases: Sequence[Case]) -> list[str]:
    """Return the lines of the kernels that cases need."""
    made = {kernels.fold("float32"), kernels.fold("float64")}
    for case in cases:
        formula = formula_of(case)
        layout = kernels.layout_of(case.d, case.storage) if is_by_rows(case) else None
        if layout is None:
            made.add(kernels.any_pass(formula, case.storage))
        else:
            made.add(kernels.row_pass(formula, case.storage, layout))
    return sorted(made)


def laid_out(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return the same numbers, elsewhere: only as much memory as they need, so that a sanitizer sees its end."""
    n, d = values.shape
    if layout == "columns":
        return np.asfortranarray(values)
    room = np.empty(values.nbytes + 32, np.uint8)
    first = -room.ctypes.data % 16 + (values.itemsize if layout == "unaligned" else 0)
    if layout == "strided":
        wide = np.full((n, 2 * d), np.nan, values.dtype)
        wide[:, ::2] = values
        return wide[:, ::2]
    placed = room[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    placed[...] = values
    return placed


def sample_of(case: Case) -> tuple[Sample, NDArray[Any]]:
    """Return the problem in the type of computation, and X as it is stored."""
    generator = np.random.default_rng(case.n * 10_000 + case.d)
    dtype = np.float64 if case.storage == "float64" else np.float32
    stored = generator.normal(size=(case.n, case.d)).astype(STORED.get(case.storage, case.storage))
    reach = 0.5 / np.sqrt(case.d)
    kind = KINDS[case.kind]._replace(n_classes=case.n_classes or KINDS[case.kind].n_classes)
    several = (kind.width,) * (kind.width > 1)
    y = np.arange(case.n) % case.n_classes if case.n_classes else observed(case.kind, case.n, generator)
    sample = Sample(
        kind.loss,
        stored.astype(dtype),
        y.astype(dtype),
        generator.normal(size=(*several, case.d)) * reach,
        0.25 + np.arange(kind.width) / 8,
        weights=generator.integers(0, 3, case.n).astype(np.float64) if case.weighted else None,
        n_classes=kind.n_classes,
        offset=(generator.normal(size=(case.n, *several)) / 4).astype(dtype) if case.weighted else None,
    )
    if sample.weights is not None:
        sample.weights[0] = 1
    return sample, laid_out(stored, case.layout)


def check(fake: FakeCupy, case: Case, schedules: Sequence[int] = SCHEDULES) -> str:
    """Assert that a case is computed right, always by the same bits; return the kernel that did it."""
    sample, stored = sample_of(case)
    problem = sample.problem()
    dtype = sample.X.dtype
    rows = tuple(
        None if part is None else Array(part) for part in (problem.targets, problem.sample_weight, problem.offset)
    )
    parameters = Array(np.append(sample.coef, sample.intercept))
    found = set()
    for schedule in schedules:
        for grid in GRIDS:
            fake.schedule = schedule
            fused = FusedPass(fake, problem.loss, Array(stored), rows, 1)  # type: ignore[arg-type]
            fused.grid = (min(grid, fused.chunks),)
            fused.partials = Array(np.full(fused.partials.shape, np.nan, dtype))
            scores = Array(np.full((case.n, sample.width), np.nan, dtype))
            sums = fused(parameters, scores)
            found.add((sums.values.tobytes(), scores.values.tobytes()))
    assert len(found) == 1, f"{case}: the result depends on the order of threads"
    compare(case, sample, sums.values, scores.values)
    return str(fused.line.partition("(")[0])


def compare(case: Case, sample: Sample, sums: NDArray[Any], scores: NDArray[Any]) -> None:
    """Assert that sums and scores are those of the definition."""
    dtype, coef = sample.X.dtype, sample.coef.reshape(sample.width, -1)
    total, expected = sample.total_weight, define(sample)
    actual = sums / total
    slack = tolerance(dtype, min(case.n, LARGEST_CHUNK) + case.d)
    assert abs(actual[-1] - expected.value) <= slack * expected.value_magnitude, case
    assert np.all(np.abs(actual[:-1] - expected.gradient) <= slack * expected.gradient_magnitude), case
    exact = sample.X.astype(np.float64) @ coef.T + sample.intercept
    size = np.abs(sample.X).astype(np.float64) @ np.abs(coef.T) + np.abs(sample.intercept)
    assert np.all(np.abs(scores - exact) <= tolerance(dtype, case.d) * size), case


def check_real(xp: Any, case: Case) -> None:
    """Assert that a case is computed right on a real GPU, always by the same bits."""
    sample, stored = sample_of(case)
    problem = sample.problem()
    parts = (problem.targets, problem.sample_weight, problem.offset)
    rows = tuple(None if part is None else xp.asarray(part) for part in parts)
    parameters = xp.asarray(np.append(sample.coef, sample.intercept))
    found = set()
    for blocks in (*GRIDS, 3) * 3:
        fused = FusedPass(xp, problem.loss, xp.asarray(stored), rows, 1)  # type: ignore[arg-type]
        fused.grid = (min(blocks, fused.chunks),)
        scores = xp.empty((case.n, sample.width), dtype=sample.X.dtype)
        sums = fused(parameters, scores).get()
        found.add((sums.tobytes(), scores.get().tobytes()))
    assert len(found) == 1, f"{case}: the result depends on the grid"
    compare(case, sample, sums, scores.get())


def check_sums(fake: FakeCupy, n_parts: int, width: int, schedules: Sequence[int] = SCHEDULES) -> None:
    """Assert that the sums of chunks are those of float64, whatever the order of threads."""
    parts = np.random.default_rng(n_parts).normal(size=(n_parts, width)).astype(np.float32)
    found = set()
    for schedule in schedules:
        fake.schedule = schedule
        found.add(add_up(fake, Array(parts)).values.tobytes())
    assert len(found) == 1
    double = parts.astype(np.float64)
    slack = tolerance(np.float64, n_parts) * np.abs(double).sum(axis=0)
    assert np.all(np.abs(np.frombuffer(found.pop()) - double.sum(axis=0)) <= slack)


def check_sparse(fake: FakeCupy, dtype: Any, index: Any, width: int, schedules: Sequence[int] = SCHEDULES) -> None:
    """Assert that products with a sparse matrix, from both sides, are those of the dense one."""
    generator = np.random.default_rng(width)
    dense = generator.normal(size=(70, 41)) * (generator.random((70, 41)) < 0.3)
    dense[5] = 0
    dense[:, 7] = 0
    dense = dense.astype(dtype)
    parts = []
    for matrix in (dense, dense.T):
        row, column = np.nonzero(matrix)
        starts = np.append(0, np.cumsum(np.count_nonzero(matrix, axis=1))).astype(index)
        parts.append((Array(matrix[row, column]), Array(column.astype(index)), Array(starts)))
    sparse = CsrMatrix(fake, parts[0], parts[1], parts[0][2].values)
    right, left = (generator.normal(size=shape).astype(dtype) for shape in ((41, width), (70, width)))
    for schedule in schedules:
        fake.schedule = schedule
        pairs = [(sparse @ Array(right), dense.astype(np.float64) @ right)]
        pairs += [(Array(left).T @ sparse, left.T.astype(np.float64) @ dense)]
        pairs += [(Array(left[:, 0]) @ sparse, left[:, 0].astype(np.float64) @ dense)]
        for product, expected in pairs:
            assert product.shape == expected.shape
            assert np.all(np.abs(product.values - expected) <= tolerance(dtype, 70) * 40)
    assert np.array_equal(sparse.dense(slice(3, 9)).values, dense[3:9])


@cache
def usual_kernels() -> tuple[str, ...]:
    """Return the lines of the kernels that most tests of the backend need, all of them compiled together."""
    made = {*kernels_of(CASES), *kernels_of_ways(WAYS), *kernels_of_scores(SCORE_CASES)}
    for storage in ("float32", "float64"):
        made |= {
            kernels.csr_product(storage, index, out) for index in ("int32", "int64") for out in {storage, "float64"}
        }
        made |= {kernels.finish(method, part, storage) for method in kernels.RULES for part in {storage, "float64"}}
        made.add(kernels.any_pass(f"Softmax<{KINDS['softmax'].n_classes}>", storage))
        for formula in kernels.FORMULAS.values():
            made |= {kernels.any_pass(formula, storage), kernels.row_pass(formula, storage, kernels.Layout(1, 1, 1))}
            made |= {kernels.one_block(formula, "gd", storage), kernels.score_pass(f"Mean<{formula}>", storage, 1)}
            made |= {kernels.one_block(formula, method, storage) for method in ("nesterov", "adam")}
        for formula, d in itertools.product(("Mse", "LogLoss"), (4, 16)):
            made.add(kernels.row_pass(formula, storage, kernels.layout_of(d, storage) or kernels.Layout(1, 1, 1)))
        several = [("softmax", KINDS["softmax"].width), ("softmax_probabilities", KINDS["probabilities"].width)]
        made |= {kernels.score_pass(kernels.JOINT_FORMULAS[name], storage, width) for name, width in several}
        made.add(kernels.score_pass("Mean<Mse>", storage, KINDS["two targets"].width))
        made.add(kernels.score_pass("Entropy<ClassTarget>", storage, kernels.MOST_CLASSES + 1))
    made |= {kernels.any_pass("Mse", "bfloat16"), kernels.any_pass("Softmax<4>", "float16")}
    return tuple(sorted(made))


def hold(kernel: str) -> None:
    """Run what there is for a kernel, or for all; an error where it does not hold."""
    folder, *flags = sys.argv[1:]
    fake = FakeCupy(Path(folder), ("-O0", *flags))
    wanted = [case for name, cases in FEW.items() if kernel in {name, "all"} for case in cases[-1 if flags else 0 :]]
    scores = [case for name, few in FEW_SCORES.items() if kernel in {name, "all"} for case in few[-1 if flags else 0 :]]
    ways = [way for name, few in FEW_WAYS.items() if kernel in {name, "all"} for way in few[-1 if flags else 0 :]]
    fake.bundle = kernels_of(wanted) + kernels_of_ways(ways) + kernels_of_scores(scores)
    fake.bundle += [kernels.csr_product("float32", "int32", out) for out in ("float32", "float64") if kernel == "all"]
    for case in wanted:
        check(fake, case, SCHEDULES[::3])
    for case_of_scores in scores:
        check_scores(fake, case_of_scores, SCHEDULES[::3])
    for way in ways:
        with pytest.MonkeyPatch.context() as patch:
            if way.understated:
                # The order of threads is the others' question.
                patch.setattr(resident, "BLOCK_THREADS", 64)
            check_descent(fake, way, SCHEDULES[:1] if way.understated else SCHEDULES[::3])
    if kernel in {"fold", "all"}:
        check_sums(fake, 20, 35, SCHEDULES[::3])
    if kernel in {"csr", "all"}:
        check_sparse(fake, np.float32, np.int32, 2, SCHEDULES[:1])


def main() -> None:
    """Hold the source to its cases, then each bug that is planted in it, read from standard input, in a child each.

    Arguments are a folder and flags of the compiler. For each a line tells how it ended.
    """
    sound = kernels.source()
    for name, kernel, old, new in [("no bug", "all", "", ""), *json.load(sys.stdin)]:
        assert old in sound, f"{name}: there is no {old!r} in the source"
        text = sound.replace(old, new, 1)
        setattr(kernels, "source", lambda text=text: text)  # noqa: B010
        child = os.fork()
        if child == 0:
            try:
                hold(kernel)
            except AssertionError as error:
                print(f"{name}: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
                os._exit(1)
            except RuntimeError as error:
                # A compiler that refuses the source has caught nothing.
                print(f"{name}: {error}", flush=True)  # noqa: T201
                os._exit(2)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{name}: {'holds' if status == 0 else f'ended with {status}'}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
