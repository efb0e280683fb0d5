"""The CUDA kernels of the folder ``cuda``: which one fits, compiled when it is first wanted, launched where X is."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.losses import HIGHEST_EXPONENT
from steepest.validation import to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.losses import Loss

#: Of a loss of one score a row, the name of its formula in the source.
FORMULAS = {
    "mse": "Mse",
    "log_loss": "LogLoss",
    "huber": "Huber",
    "poisson": "Poisson",
    "squared_hinge": "SquaredHinge",
}
#: Of a loss that is not the mean of one score's, the name of its formula by columns.
JOINT_FORMULAS = {"softmax": "Entropy<ClassTarget>", "softmax_probabilities": "Entropy<OwnTarget>"}
#: Classes up to which softmax has a kernel that reads X: with more, what a thread adds up takes too many registers.
MOST_CLASSES = 8
#: Of a method, the name of its rule in the source.
RULES = {"gd": "GradientDescent", "momentum": "Momentum", "nesterov": "Nesterov", "adam": "Adam"}
#: Kernels that sum over rows.
PASSES = ("ROW_PASS", "ANY_PASS", "FOLD", "CSR_PRODUCT", "SCORE_PASS", "WIDE_PASS")
#: Files of the source, in their order.
SOURCES = ("steepest.cu", "descent.cu", "scores.cu")
#: Of a type of the entries of X, its name in the source.
STORAGES = {"float32": "float", "float64": "double", "float16": "float16", "bfloat16": "bfloat16"}
VECTOR_BYTES, WARP = 16, 32
#: Words of four bytes of rows that a thread of `ROW_PASS` keeps: loads enough to keep the memory busy, and few enough
#: registers for several blocks a multiprocessor.
ROW_WORDS = 32
#: Of scores likewise, beside which there are sums of columns: of a row at the most, and of several rows.
SCORE_WORDS, SCORE_ROWS_WORDS = 16, 8
CHUNK_ROWS, FOLD_PARTS = 512, 256
ROW_THREADS, ANY_THREADS, FOLD_THREADS, BLOCK_THREADS = 128, 256, 256, 512
#: Rows that `FINISH` adds by itself: with more, a fold by many blocks comes before it.
FINISH_PARTS = 32
#: Rows of which `ANY_PASS` keeps slopes in shared memory, with their sums and that of the losses.
BATCH_ROWS = 32
#: Blocks a multiprocessor: more than fit at a time, so that none waits for the last.
BLOCKS_PER_MULTIPROCESSOR = 8


class Layout(NamedTuple):
    """How `ROW_PASS` and `SCORE_PASS` spread rows over a warp."""

    lanes: int
    """Lanes that share a row."""
    own: int
    """Vectors of a row, or scores, that a lane holds."""
    at_once: int
    """Rows that a lane holds."""


def layout_of(n_features: int, storage: str) -> Layout | None:
    """Return how whole rows of vectors are spread over a warp; None if they are not whole vectors, or too long."""
    itemsize = 8 if storage == "float64" else 4 if storage == "float32" else 2
    if n_features * itemsize % VECTOR_BYTES:
        return None
    vectors = n_features * itemsize // VECTOR_BYTES
    lanes = min(WARP, 1 << (vectors - 1).bit_length())
    own = 1 << (-(-vectors // lanes) - 1).bit_length()
    words = own * (VECTOR_BYTES // itemsize) * (2 if storage == "float64" else 1)
    if words > ROW_WORDS:
        return None
    return Layout(lanes, own, min(lanes, ROW_WORDS // words))


def layout_of_scores(width: int, storage: str) -> Layout | None:
    """Return how rows of scores are spread over a warp; None if they are too wide for its registers."""
    words = 2 if storage == "float64" else 1
    # Two at least, if there are two: what lanes share of a row takes the time of a score.
    lanes = min(WARP, 1 << (-(-width // 2) - 1).bit_length())
    own = 1 << (-(-width // lanes) - 1).bit_length()
    at_once = max(1, min(lanes, SCORE_ROWS_WORDS // (own * words)))
    return Layout(lanes, own, at_once) if own * words <= SCORE_WORDS else None


def has_formula(loss: Loss) -> bool:
    """Return whether the source knows a loss."""
    return loss.kernel in FORMULAS or loss.kernel in JOINT_FORMULAS


def reads_rows(loss: Loss) -> bool:
    """Return whether there is a kernel for a loss that goes from X to the gradient."""
    return loss.width <= MOST_CLASSES if loss.kernel == "softmax" else loss.width == 1 and loss.kernel in FORMULAS


def formula_of(loss: Loss) -> str:
    """Return the name of a loss's formula in the source."""
    return f"Softmax<{loss.width}>" if loss.kernel == "softmax" else FORMULAS[loss.kernel]


def formula_by_columns(loss: Loss) -> str:
    """Return the name of a loss's formula for scores that are there."""
    return JOINT_FORMULAS[loss.kernel] if loss.kernel in JOINT_FORMULAS else f"Mean<{FORMULAS[loss.kernel]}>"


def row_pass(formula: str, storage: str, layout: Layout, name: str = "kernel") -> str:
    """Return the line that makes the kernel for rows of whole vectors."""
    return f"ROW_PASS({name}, {formula}, {STORAGES[storage]}, {layout.lanes}, {layout.own}, {layout.at_once})"


def any_pass(formula: str, storage: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel for any rows."""
    return f"ANY_PASS({name}, {formula}, {STORAGES[storage]})"


def score_pass(formula: str, number: str, width: int, name: str = "kernel") -> str:
    """Return the line that makes the kernel for scores that are there, of some width."""
    layout = layout_of_scores(width, number)
    if layout is None:
        return f"WIDE_PASS({name}, {formula}, {STORAGES[number]})"
    return f"SCORE_PASS({name}, {formula}, {STORAGES[number]}, {layout.lanes}, {layout.own}, {layout.at_once})"


def fold(storage: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel that adds the sums of chunks."""
    return f"FOLD({name}, {STORAGES[storage]})"


def csr_product(storage: str, index: str, out: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel for a sparse matrix times a dense one."""
    indices = {"int32": "int", "int64": "int64"}[index]
    return f"CSR_PRODUCT({name}, {STORAGES[storage]}, {indices}, {STORAGES[out]})"


def finish(method: str, part: str, storage: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel that judges a point, from sums by chunks, and makes the next one."""
    return f"FINISH({name}, {RULES[method]}, {STORAGES[part]}, {STORAGES[storage]})"


def one_block(formula: str, method: str, storage: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel of many steps by one block."""
    return f"ONE_BLOCK({name}, {formula}, {RULES[method]}, {STORAGES[storage]})"


def quadratic(method: str, name: str = "kernel") -> str:
    """Return the line that makes the kernel of many steps from second moments."""
    return f"QUADRATIC({name}, {RULES[method]})"


@cache
def source() -> str:
    """Return the CUDA source, to which the lines of the kernels that are wanted are appended."""
    folder = files("steepest") / "cuda"
    return "".join((folder / name).read_text(encoding="utf-8") for name in SOURCES)


@cache
def compiled(xp: Any, line: str) -> Any:
    """Return the kernel that a line makes. CuPy compiles it at the first launch and keeps it, on disk too."""
    return xp.RawModule(code=f"{source()}\n{line}\n", options=options_of(line)).get_function("kernel")


def options_of(line: str) -> tuple[str, ...]:
    """Return how a kernel is compiled: those of passes with contractions wherever there can be one."""
    return ("--std=c++17",) if line.startswith(PASSES) else ("--std=c++17", "--fmad=false")


def pointer(array: Any) -> Any:
    """Return an array as kernels take it, null for None."""
    return np.intp(0) if array is None else array


def add_up(xp: Any, partials: Any) -> Any:
    """Return the sums of the columns, float64, in an order that depends on the number of rows alone."""
    sums = xp.empty((segments_of(len(partials)), partials.shape[1]), dtype=xp.float64)
    return add_levels(xp, [partials, *levels_of(xp, sums, 1)])[0, :]


def segments_of(n_parts: int) -> int:
    """Return how many rows of sums a fold makes."""
    return -(-n_parts // FOLD_PARTS)


def levels_of(xp: Any, partials: Any, most: int) -> list[Any]:
    """Return rows of sums and room for the sums of their segments, of those again, and so on until there are few."""
    levels = [partials]
    while len(levels[-1]) > most:
        levels.append(xp.empty((segments_of(len(levels[-1])), partials.shape[1]), dtype=xp.float64))
    return levels


def add_levels(xp: Any, levels: list[Any], halted: Any = None) -> Any:
    """Write the sums of each level to the next, unless `halted`, and return the last."""
    for parts, sums in pairwise(levels):
        add_segments(xp, parts, sums, halted)
    return levels[-1]


def add_segments(xp: Any, partials: Any, sums: Any, halted: Any = None) -> None:
    """Write the sums of segments of rows to `sums`, unless `halted`."""
    n_parts, width = partials.shape
    compiled(xp, fold(str(partials.dtype)))(
        (len(sums) * -(-width // WARP),),
        (FOLD_THREADS,),
        (partials, np.int64(n_parts), np.int32(width), sums, pointer(halted)),
        shared_mem=FOLD_THREADS * 8,
    )


def sums_of(loss: Loss, n_features: int) -> int:
    """Return how many sums a pass makes."""
    return loss.width * (n_features + 1) + 1


def parameter_of(loss: Loss, dtype: np.dtype[Any]) -> Any:
    """Return the number in a loss's formula."""
    return dtype.type(HIGHEST_EXPONENT[dtype.name] if loss.kernel == "poisson" else loss.parameter)


class FusedPass:
    """Value and gradient of a loss that has a formula in one reading of a dense X, in the memory of a GPU.

    Everything else a row has is in the type of computation: float32, or float64 for float64 entries.
    """

    is_recordable = True
    """Whether launches are all that a pass is."""

    def __init__(  # noqa: PLR0917
        self,
        xp: Any,
        loss: Loss,
        X: Any,
        rows: tuple[Any, Any, Any],
        multiprocessors: int,
        partials: Any = None,
    ) -> None:
        self.xp, self.X, self.rows = xp, X, rows
        self.n, self.d = X.shape
        self.dtype = xp.float64 if X.dtype == np.float64 else xp.float32
        storage, formula, width = str(X.dtype), formula_of(loss), loss.width
        self.formula = formula
        number = np.dtype(self.dtype)
        self.parameter = parameter_of(loss, number)
        # Several scores take the registers that whole rows would.
        layout = layout_of(self.d, storage) if width == 1 else None
        aligned = X.flags.c_contiguous and X.data.ptr % VECTOR_BYTES == 0
        self.chunks = -(-self.n // CHUNK_ROWS)
        self.grid = (min(self.chunks, multiprocessors * BLOCKS_PER_MULTIPROCESSOR),)
        self.strides: tuple[Any, ...] = ()
        if layout is not None and aligned:
            self.line, self.block = row_pass(formula, storage, layout), (ROW_THREADS,)
            self.shared = ROW_THREADS // WARP * (self.d + 2) * number.itemsize
        else:
            self.line, self.block = any_pass(formula, storage), (ANY_THREADS,)
            self.strides = tuple(np.int64(stride // X.dtype.itemsize) for stride in X.strides)
            self.shared = BATCH_ROWS * (2 * width + 1) * number.itemsize
        n_sums = sums_of(loss, self.d)
        self.partials = xp.empty((self.chunks, n_sums), dtype=self.dtype) if partials is None else partials

    def __call__(self, parameters: Any, scores: Any = None) -> Any:
        """Return Σ slopes x of k scores, Σ slopes, Σ losses, (k d + k + 1,) float64, at coefficients and intercepts.

        Scores, (n, k) without the offset, go to `scores` if it is given.
        """
        self.launch(self.xp.astype(parameters, self.dtype), scores)
        return add_up(self.xp, self.partials)

    def launch(self, parameters: Any, scores: Any = None, halted: Any = None) -> None:
        """Write the sums of chunks to `partials`, at parameters in the type of computation, unless `halted`."""
        targets, weights, offset = (pointer(part) for part in self.rows)
        compiled(self.xp, self.line)(
            self.grid,
            self.block,
            (
                self.X,
                *self.strides,
                targets,
                weights,
                offset,
                self.parameter,
                parameters,
                np.int64(self.n),
                np.int32(self.d),
                pointer(scores),
                self.partials,
                pointer(halted),
            ),
            shared_mem=self.shared,
        )


def by_columns(xp: Any, data: Any, columns: Any, rows: Any, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return the entries of a sparse matrix by columns: data, rows and pointers, all of them on the GPU."""
    n, d = shape
    # No two keys are equal, so any sort gives this one order.
    order = xp.argsort(xp.astype(columns, xp.int64) * n + rows)
    pointers = xp.searchsorted(columns[order], xp.arange(d + 1, dtype=columns.dtype))
    return data[order], xp.astype(rows[order], xp.int64), xp.astype(pointers, xp.int64)


class CsrMatrix:
    """A sparse matrix in the memory of a GPU, by rows and by columns: products with it are the same bits every time.

    `M @ dense` and `dense @ M` are products of all rows, which is what `M[0:n]` is; `take` makes a matrix of some of
    them, `dense` an array.
    """

    #: Products from the left are this class's, not those of the dense array.
    __array_ufunc__ = None

    def __init__(
        self, xp: Any, by_rows: tuple[Any, Any, Any], by_columns: tuple[Any, Any, Any], starts: NDArray[Any]
    ) -> None:
        """Put together data, indices and pointers, each entry once, with the pointers of rows in main memory too."""
        self.xp, self.by_rows, self.by_columns, self.starts = xp, by_rows, by_columns, starts
        self.shape, self.dtype = (len(starts) - 1, len(by_columns[2]) - 1), by_rows[0].dtype

    def __getitem__(self, index: Any) -> CsrMatrix:
        rows = index[0] if isinstance(index, tuple) else index
        if rows != slice(0, self.shape[0]):
            raise IndexError("a sparse matrix on the GPU is multiplied with all its rows")
        return self

    def take(self, rows: Any) -> CsrMatrix:
        """Return rows by their numbers, which are on the GPU, as a matrix of their own."""
        xp, d = self.xp, self.shape[1]
        data, indices, _ = self.by_rows
        chosen = to_host(rows)
        firsts = self.starts[chosen].astype(np.int64)
        lengths = self.starts[chosen + 1] - firsts
        starts = np.concatenate([[0], np.cumsum(lengths)])
        entries = xp.asarray(np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], lengths))
        row_of = xp.asarray(np.repeat(np.arange(len(chosen)), lengths))
        data, columns = data[entries], xp.astype(indices[entries], xp.int64)
        part = by_columns(xp, data, columns, row_of, (len(chosen), d))
        return CsrMatrix(xp, (data, columns, xp.asarray(starts)), part, starts)

    def dense(self, rows: slice) -> Any:
        """Return some rows as a dense array."""
        xp = self.xp
        data, indices, _ = self.by_rows
        first, last = int(self.starts[rows.start]), int(self.starts[rows.stop])
        lengths = np.diff(self.starts[rows.start : rows.stop + 1])
        row_of = xp.asarray(np.repeat(np.arange(len(lengths)), lengths))
        made = xp.zeros((len(lengths), self.shape[1]), dtype=data.dtype)
        made[row_of, indices[first:last]] = data[first:last]
        return made

    def __matmul__(self, dense: Any) -> Any:
        """Return M @ dense, (n, k) in the type of M."""
        return self._product(self.by_rows, self.shape[0], dense, self.by_rows[0].dtype)

    def __rmatmul__(self, dense: Any) -> Any:
        """Return dense @ M, (k, d) float64."""
        transposed = dense.T if dense.ndim > 1 else dense[:, None]
        product = self._product(self.by_columns, self.shape[1], transposed, np.dtype(np.float64)).T
        return product if dense.ndim > 1 else product[0, :]

    def _product(self, part: tuple[Any, Any, Any], n: int, dense: Any, dtype: Any) -> Any:
        data, indices, indptr = part
        dense = self.xp.ascontiguousarray(self.xp.astype(dense, data.dtype, copy=False))
        product = self.xp.empty((n, dense.shape[1]), dtype=dtype)
        blocks = -(-n // (ANY_THREADS // WARP))
        compiled(self.xp, csr_product(str(data.dtype), str(indices.dtype), str(dtype)))(
            (min(blocks, 1 << 16),),
            (ANY_THREADS,),
            (data, indices, indptr, dense, np.int64(n), np.int32(dense.shape[1]), product),
        )
        return product
