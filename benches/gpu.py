"""Measure the backend on a GPU: the memory's own speed, the fused pass, peers, streams, small problems, moments.

    python benches/gpu.py            # under eight minutes; prints a page in Markdown
    python benches/gpu.py --rows 1e6 # smaller

Every share is of the read ceiling that this run measured. Without a GPU it says so and ends with 2.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import steepest as st
from steepest.backends import get_backend
from steepest.backends.scores import ScorePass
from steepest.backends.streamed import PIECE_BYTES, HostMatrix, fused_pass
from steepest.losses import LOSSES, LogLoss, Loss

#: Seconds after which nothing new is begun.
MOST_SECONDS = 440
#: Bytes of X, and the share of the free memory that it may take.
MOST_BYTES, MOST_SHARE = 8 << 30, 0.4
#: Columns and storage of what is measured.
SHAPES = [(32, "float32"), (128, "float32"), (512, "float32"), (1024, "float32"), (30, "float32"), (2000, "float32")]
SHAPES += [(32, "float64"), (128, "float64"), (512, "float64"), (32, "float16"), (128, "float16"), (1024, "float16")]
#: Classes of softmax in a pass over X, and between two products.
CLASSES, MANY_CLASSES = (3, 8), (10, 100, 1000)
#: Bytes of X in main memory that goes through.
MOST_STREAMED = 4 << 30
#: Rows of twenty columns that one block computes, and that all do.
FEW_ROWS = (1000, 100_000)

READ = r"""
extern "C" __global__ void __launch_bounds__(256) kernel(const uint4* words, long long n, unsigned* sums) {
    unsigned sum = 0;
    long long step = (long long)gridDim.x * 256;
    long long i = (long long)blockIdx.x * 256 + threadIdx.x;
    for (; i + 7 * step < n; i += 8 * step) {
        uint4 found[8];
#pragma unroll
        for (int k = 0; k < 8; k++) found[k] = __ldcs(words + i + k * step);
#pragma unroll
        for (int k = 0; k < 8; k++) sum ^= found[k].x ^ found[k].y ^ found[k].z ^ found[k].w;
    }
    for (; i < n; i += step) sum ^= words[i].x;
    sums[(long long)blockIdx.x * 256 + threadIdx.x] = sum;
}
"""


class Bench:
    """The GPU, what it was measured to read, and how much time is left."""

    def __init__(self, most_rows: float) -> None:
        self.backend: Any = get_backend("cupy")
        self.xp = self.backend.xp
        self.most_rows = int(most_rows)
        self.multiprocessors = int(self.backend.properties["multiProcessorCount"])
        self.began = time.perf_counter()
        self.ceiling = float("nan")

    @property
    def is_late(self) -> bool:
        """Whether nothing new may begin."""
        return time.perf_counter() - self.began > MOST_SECONDS

    def seconds(self, function: Callable[[], Any], repeats: int = 5) -> float:
        """Return the median of a few timings by the clock of the GPU, after two that do not count."""
        cuda = self.xp.cuda
        for _ in range(2):
            function()
        found = []
        for _ in range(repeats):
            start, end = cuda.Event(), cuda.Event()
            start.record()
            function()
            end.record()
            end.synchronize()
            found.append(cuda.get_elapsed_time(start, end) / 1e3)
        return float(np.median(found))

    def rows(self, n_bytes: int) -> int:
        """Return how many rows of so many bytes are measured."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return max(100, min(self.most_rows, int(min(MOST_BYTES, MOST_SHARE * free) // n_bytes)))

    def matrix(self, n: int, d: int, storage: str) -> Any:
        """Return numbers between −1 and 1, made on the GPU block by block: nothing as large is needed beside them."""
        xp = self.xp
        made = xp.empty((n, d), dtype=np.dtype(storage))
        step = max(1, (1 << 27) // d)
        for first in range(0, n, step):
            last = min(first + step, n)
            numbers = xp.sin(xp.arange(first * d, last * d, dtype=xp.float64) * 0.7071)
            made[first:last, :] = xp.reshape(numbers, (last - first, d)).astype(made.dtype)
        return made


def ceilings(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Read and copy within the GPU; the way there from pinned and from common memory."""
    xp, cuda = bench.xp, bench.xp.cuda
    words = bench.rows(16)
    data, threads = xp.zeros((words, 4), dtype=xp.int32), bench.multiprocessors * 8 * 256
    sums = xp.empty(threads, dtype=xp.int32)
    read = xp.RawModule(code=READ, options=("--std=c++17",)).get_function("kernel")
    spent = bench.seconds(lambda: read((threads // 256,), (256,), (data, np.int64(words), sums)))
    bench.ceiling = data.nbytes / spent
    yield "read", f"{data.nbytes / 1e9:.2f} GB", f"{bench.ceiling / 1e9:.0f} GB/s"
    other = xp.empty((words, 4), dtype=xp.int32)

    def copy() -> None:
        other[...] = data

    yield (
        "copy, both ways counted",
        f"{data.nbytes / 1e9:.2f} GB",
        f"{2 * data.nbytes / bench.seconds(copy) / 1e9:.0f} GB/s",
    )
    size = min(1 << 28, data.nbytes)
    pinned = np.frombuffer(cuda.alloc_pinned_memory(size), np.int32, size // 4)
    flat = xp.empty(size // 4, dtype=xp.int32)
    spent = bench.seconds(lambda: flat.set(pinned))
    yield "from pinned memory", f"{size / 1e9:.2f} GB", f"{size / spent / 1e9:.1f} GB/s"
    common = np.zeros((max(1, 4 * size // 4096), 1024), np.float32)
    began = time.perf_counter()
    bench.backend._sent(common)  # noqa: SLF001
    spent = time.perf_counter() - began
    yield (
        "from common memory, as steepest does it",
        f"{common.nbytes / 1e9:.2f} GB",
        f"{common.nbytes / spent / 1e9:.1f} GB/s",
    )


def fused(bench: Bench, loss: Loss, X: Any) -> Any:
    """Return the pass over X with targets of zero and one."""
    xp = bench.xp
    dtype = xp.float64 if X.dtype == np.float64 else xp.float32
    targets = (xp.arange(X.shape[0], dtype=xp.int64) % 2).astype(dtype)
    return fused_pass(xp, loss, X, (targets, None, None), bench.multiprocessors)


def passes(bench: Bench) -> Iterator[tuple[str, ...]]:
    """One pass, value and gradient, of each storage and width; of the losses at one width."""
    cases = [("log_loss", LOSSES["log_loss"](), d, storage) for d, storage in SHAPES]
    cases += [(name, LOSSES[name](), 128, "float32") for name in ("mse", "huber", "poisson", "squared_hinge")]
    cases += [(f"softmax, {k} classes", LogLoss(n_classes=k), 128, "float32") for k in CLASSES]
    for name, loss, d, storage in cases:
        if bench.is_late:
            return
        X = bench.matrix(bench.rows(d * np.dtype(storage).itemsize), d, storage)
        look = fused(bench, loss, X)
        parameters = bench.xp.zeros(loss.width * (d + 1), dtype=bench.xp.float64)
        spent = bench.seconds(lambda look=look, parameters=parameters: look(parameters))  # type: ignore[misc]
        rate = (X.nbytes + X.shape[0] * np.dtype(look.dtype).itemsize) / spent
        kernel = look.line.partition("(")[0]
        yield (
            name,
            storage,
            f"{X.shape[0]:,}×{d}",
            kernel,
            f"{spent * 1e3:.3f} ms",
            f"{100 * rate / bench.ceiling:.0f} %",
        )


def over_scores(bench: Bench) -> Iterator[tuple[str, ...]]:
    """What stands between two products, for softmax: scores are read, and their slopes written in their place."""
    for k, storage in itertools.product(MANY_CLASSES, ("float32", "float64")):
        if bench.is_late:
            return
        scores = bench.matrix(bench.rows(k * np.dtype(storage).itemsize), k, storage)
        look = ScorePass(bench.xp, LogLoss(n_classes=k), storage, bench.multiprocessors)
        rows = ((bench.xp.arange(scores.shape[0], dtype=bench.xp.int64) % k).astype(storage), None, None)
        spent = bench.seconds(lambda look=look, scores=scores, rows=rows: look(scores, rows))  # type: ignore[misc]
        kernel = look.line.partition("(")[0]
        share = 100 * 2 * scores.nbytes / spent / bench.ceiling
        yield storage, f"{scores.shape[0]:,}×{k}", kernel, f"{spent * 1e3:.3f} ms", f"{share:.0f} %"


def same_bytes(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Ten passes by three grids each."""
    X = bench.matrix(bench.rows(4 * 128), 128, "float32")
    look = fused(bench, LOSSES["log_loss"](), X)
    parameters = bench.xp.astype(bench.xp.arange(129, dtype=bench.xp.float64) / 129, bench.xp.float64)
    found = set()
    for blocks in (bench.multiprocessors // 2 or 1, bench.multiprocessors, 2 * bench.multiprocessors):
        look.grid = (blocks,)
        found |= {look(parameters).get().tobytes() for _ in range(10)}
    yield "ten passes by three grids", f"{len(found)} different result" + "s" * (len(found) > 1)


def peers(bench: Bench) -> Iterator[tuple[str, ...]]:
    """The same value and gradient of logistic regression by others, which read X twice."""
    xp, d = bench.xp, 128
    X = bench.matrix(bench.rows(4 * d), d, "float32")
    look = fused(bench, LOSSES["log_loss"](), X)
    y, w = look.rows[0], xp.zeros(d, dtype=xp.float32)
    zeros = xp.zeros(d + 1, dtype=xp.float64)
    own = bench.seconds(lambda: look(zeros))
    yield "steepest", f"{own * 1e3:.3f} ms", "1.00×"

    def with_cupy() -> Any:
        z = X @ w
        e = xp.exp(-xp.abs(z))
        residual = xp.where(z > 0, 1 / (1 + e), e / (1 + e)) - y
        return xp.sum(xp.maximum(z, 0) - y * z + xp.log1p(e)), X.T @ residual

    others: dict[str, Callable[[], Callable[[], Any]]] = {
        "CuPy, two products": lambda: with_cupy,
        "torch, eager": lambda: with_torch(X, y, compiled=False),
        "torch.compile": lambda: with_torch(X, y, compiled=True),
        "jax.jit": lambda: with_jax(X, y),
    }
    for name, make in others.items():
        if bench.is_late:
            return
        try:
            spent = bench.seconds(make())
        except Exception as error:  # noqa: BLE001 - whatever a peer lacks is said, and the next one measured
            yield (
                name,
                "not measured",
                f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}",
            )
        else:
            yield name, f"{spent * 1e3:.3f} ms", f"{spent / own:.2f}×"


def with_torch(X: Any, y: Any, *, compiled: bool) -> Callable[[], Any]:
    """Return the pass in PyTorch, on the same arrays."""
    import torch

    rows, targets = torch.from_dlpack(X), torch.from_dlpack(y)
    w = torch.zeros(rows.shape[1], device=rows.device)

    def look(w: Any) -> Any:
        z = rows @ w
        residual = torch.sigmoid(z) - targets
        return torch.nn.functional.binary_cross_entropy_with_logits(z, targets, reduction="sum"), rows.T @ residual

    chosen = torch.compile(look, mode="max-autotune-no-cudagraphs") if compiled else look
    # On the stream whose events are measured.
    return lambda: chosen(w)


def with_jax(X: Any, y: Any) -> Callable[[], Any]:
    """Return the pass in JAX, on the same arrays."""
    import jax
    import jax.numpy as jnp

    rows, targets = jnp.from_dlpack(X), jnp.from_dlpack(y)

    def loss(w: Any) -> Any:
        z = rows @ w
        return jnp.sum(jnp.logaddexp(0, z) - targets * z)

    look, w = jax.jit(jax.value_and_grad(loss)), jnp.zeros(rows.shape[1])
    return lambda: jax.block_until_ready(look(w))


def streaming(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Passes over X in main memory, against the rate of copies of what is pinned and of what is not."""
    xp, d = bench.xp, 128
    pinned = np.frombuffer(xp.cuda.alloc_pinned_memory(PIECE_BYTES), np.float32, PIECE_BYTES // 4)
    there = xp.empty(PIECE_BYTES // 4, dtype=xp.float32)
    copies = PIECE_BYTES / bench.seconds(lambda: there.set(pinned))
    X = np.ones((min(bench.most_rows, MOST_STREAMED // (4 * d)), d), np.float32)
    look = fused(bench, LOSSES["log_loss"](), HostMatrix(xp, X))
    parameters = xp.zeros(d + 1, dtype=xp.float64)
    rate = X.nbytes / bench.seconds(lambda: look(parameters))
    yield f"{X.shape[0]:,}×{d}", f"{copies / 1e9:.1f} GB/s", f"{rate / 1e9:.1f} GB/s", f"{100 * rate / copies:.0f} %"


def descents(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Whole descents by the clock on the wall, and what a step costs: what one more costs, without the setting out."""
    few, more = (bench.matrix(n, 20, "float32") for n in FEW_ROWS)
    large = bench.matrix(bench.rows(4 * 128), 128, "float32")
    for name, X, options in (
        ("by one block", few, {"loss": "log_loss", "learning_rate": 0.1, "n_steps": 10_000}),
        ("by one block, sizes tried", few, {"loss": "log_loss", "learning_rate": "auto", "n_steps": 10_000}),
        ("by graphs", more, {"loss": "log_loss", "learning_rate": 0.1, "n_steps": 10_000}),
        ("from moments", large, {"learning_rate": 0.01, "strategy": "gram", "n_steps": 1000}),
        ("by passes", large, {"loss": "log_loss", "learning_rate": 0.1, "n_steps": 100}),
    ):
        if bench.is_late:
            return
        y = bench.xp.asarray((np.arange(X.shape[0]) % 2).astype(np.float32))

        def seconds(X: Any = X, y: Any = y, **options: Any) -> tuple[float, int]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", st.ConvergenceWarning)
                began = time.perf_counter()
                fit = st.descend(X, y, backend="cupy", tol=0.0, **options)
            return time.perf_counter() - began, fit.n_steps

        # The first one compiles.
        first, _ = seconds(**options)
        spent, n_steps = min(seconds(**options) for _ in range(3))
        setting_out, _ = min(seconds(**{**options, "n_steps": 1}) for _ in range(3))
        yield (
            f"{name}, {X.shape[0]:,}×{X.shape[1]}",
            f"{n_steps:,}",
            f"{first:.3f} s",
            f"{spent * 1e3:.2f} ms",
            f"{(spent - setting_out) / max(1, n_steps - 1) * 1e6:.2f} µs",
        )


PARTS: dict[str, tuple[Callable[[Bench], Iterator[tuple[str, ...]]], tuple[str, ...]]] = {
    "Ceilings": (ceilings, ("what", "size", "rate")),
    "The fused pass": (passes, ("loss", "storage", "shape", "kernel", "time", "of the read ceiling")),
    "The pass over scores": (over_scores, ("storage", "shape", "kernel", "time", "of the read ceiling")),
    "The same bytes": (same_bytes, ("what", "found")),
    "Peers: logistic regression, 128 columns, float32": (peers, ("library", "time", "against steepest")),
    "Streaming: float32 in main memory": (streaming, ("shape", "pinned copies", "a pass", "of the copies")),
    "Descents": (descents, ("case", "steps", "first", "best of three", "one more step")),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=10e6, help="rows at the most")
    arguments = parser.parse_args()
    try:
        bench = Bench(arguments.rows)
    except st.BackendUnavailableError as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return 2
    versions = f"steepest {st.__version__}, NumPy {np.__version__}, {platform.platform()}"
    print(f"# On a GPU\n\n{bench.backend.describe()}; {versions}")
    for title, (part, columns) in PARTS.items():
        print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in part(bench):
            print(f"| {' | '.join(row)} |", flush=True)
    print(f"\nMeasured in {time.perf_counter() - bench.began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
