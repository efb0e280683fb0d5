"""Tables in: every kind of frame, its names, its errors; not copied where the layout allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

import steepest as st
from steepest.data import read_table
from steepest.sources.tables import Names
from steepest.tables import as_frame, as_matrix, expect_names, is_frame

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

NAMES = ["length", "width", "weight"]
BLOCK = np.asfortranarray(np.arange(30.0).reshape(10, 3) % 7)
Y = np.arange(10.0)


class Capsule:
    """A frame of no package that anybody knows: it only speaks Arrow."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class Tensor:
    """An array of no package that anybody knows: it only speaks DLPack."""

    def __init__(self, array: NDArray[Any], *, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        if self.device != (1, 0):
            raise BufferError("on the GPU")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


FRAMES: dict[str, Any] = {
    "pandas": lambda block: pd.DataFrame(block, columns=NAMES),
    "polars": lambda block: pl.DataFrame(dict(zip(NAMES, block.T, strict=True))),
    "pyarrow": lambda block: pa.table(dict(zip(NAMES, block.T, strict=True))),
    "capsule": lambda block: Capsule(pa.table(dict(zip(NAMES, block.T, strict=True)))),
}
every_frame = pytest.mark.parametrize("kind", FRAMES)


@every_frame
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_frames_are_matrices_with_names(kind: str, dtype: Any) -> None:
    matrix, names = as_matrix("X", FRAMES[kind](BLOCK.astype(dtype)))
    assert names == NAMES
    assert matrix.dtype == dtype
    assert np.array_equal(matrix, BLOCK)


def test_one_block_is_not_copied() -> None:
    frame = pd.DataFrame(BLOCK, columns=NAMES, copy=False)
    assert np.shares_memory(as_matrix("X", frame)[0], BLOCK)
    rows = np.ascontiguousarray(BLOCK)
    assert np.shares_memory(as_matrix("X", pd.DataFrame(rows, columns=NAMES, copy=False))[0], rows)
    frame = pl.from_numpy(BLOCK, schema=NAMES)
    matrix = as_matrix("X", frame)[0]
    assert np.shares_memory(matrix, frame["length"].to_numpy())


def test_arrays_that_speak_dlpack_are_not_copied() -> None:
    for array in (BLOCK, np.ascontiguousarray(BLOCK), BLOCK.astype(np.float32)):
        matrix, names = as_matrix("X", Tensor(array))
        assert names is None
        assert np.shares_memory(matrix, array)
        assert st.GDRegressor().fit(Tensor(array), Y).coef_ == pytest.approx(
            st.GDRegressor().fit(array, Y).coef_, abs=0
        )
    with pytest.raises(st.InputError, match="X: expected an array in main memory; on the GPU"):
        as_matrix("X", Tensor(BLOCK, device=(2, 0)))


def test_tensors_of_torch_are_not_copied() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(BLOCK)
    assert np.shares_memory(np.asarray(as_matrix("X", tensor)[0]), BLOCK)
    assert np.array_equal(st.GDRegressor().fit(tensor, Y).coef_, st.GDRegressor().fit(BLOCK, Y).coef_)


@every_frame
def test_estimators_keep_the_names(kind: str) -> None:
    frame, expected = FRAMES[kind](BLOCK), st.GDRegressor().fit(BLOCK, Y)
    model = st.GDRegressor().fit(frame, Y)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_features_in_ == 3
    assert model.fit_.feature_names == NAMES
    assert model.coef_ == pytest.approx(expected.coef_, rel=1e-9)
    for other in FRAMES.values():
        assert model.predict(other(BLOCK)) == pytest.approx(expected.predict(BLOCK), rel=1e-9)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but GDRegressor was fitted with"):
        model.predict(BLOCK)


@every_frame
def test_targets_may_be_columns(kind: str) -> None:
    labels = np.where(Y > 4, "late", "early")
    column = {
        "pandas": lambda: pd.Series(labels),
        "polars": lambda: pl.Series(labels),
        "pyarrow": lambda: pa.chunked_array([labels.tolist()]),
        "capsule": lambda: pd.Categorical(labels),
    }[kind]()
    model = st.GDClassifier().fit(FRAMES[kind](BLOCK), column)
    assert model.classes_.tolist() == ["early", "late"]
    assert set(model.predict(FRAMES[kind](BLOCK))) <= {"early", "late"}


@every_frame
def test_names_that_differ_from_training_are_listed(kind: str) -> None:
    model = st.GDRegressor().fit(FRAMES[kind](BLOCK), Y)
    other = as_frame("X", FRAMES[kind](BLOCK))
    renamed = ["length", "breadth", "mass"]
    other = other.set_axis(renamed, axis=1) if kind == "pandas" else other
    other = other.rename(dict(zip(NAMES, renamed, strict=True))) if kind == "polars" else other
    other = other.rename_columns(renamed) if kind in {"pyarrow", "capsule"} else other
    with pytest.raises(ValueError, match="The feature names should match") as caught:
        model.predict(other)
    unexpected, missing = str(caught.value).split("now missing:")
    assert "- breadth\n- mass" in unexpected
    assert "- weight\n- width" in missing
    with pytest.raises(ValueError, match="same order as they were in fit"):
        model.predict(pd.DataFrame(BLOCK, columns=NAMES[::-1]))
    with pytest.raises(st.InputError, match="eval_set: The feature names should match"):
        st.GDRegressor().fit(FRAMES[kind](BLOCK), Y, eval_set=(other, Y))


MIXED = {"length": np.arange(10.0), "colour": ["red", "blue"] * 5}
NOT_NUMBERS: dict[str, tuple[Any, str]] = {
    "pandas": (lambda: pd.DataFrame(MIXED), r"column 'colour' is String \(the first is 'red'\)"),
    "polars": (lambda: pl.DataFrame(MIXED), r"column 'colour' is String \(the first is 'red'\)"),
    "pyarrow": (lambda: pa.table(MIXED), r"column 'colour' is String \(the first is 'red'\)"),
    "capsule": (lambda: Capsule(pa.table(MIXED)), r"column 'colour' is String \(the first is 'red'\)"),
    "categories": (lambda: pd.DataFrame(MIXED).astype({"colour": "category"}), "column 'colour' is Categorical"),
    "dates": (lambda: pd.DataFrame({"day": pd.date_range("2020-01-01", periods=10)}), "column 'day' is Datetime"),
    "lists": (lambda: pl.DataFrame({"pairs": [[1, 2]] * 10}), "column 'pairs' is List"),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_a_column_that_is_not_numbers_is_named(case: str) -> None:
    make, message = NOT_NUMBERS[case]
    for function in (st.GDRegressor().fit, st.descend):
        with pytest.raises(st.InputError, match=f"X: expected numbers; {message}"):
            function(make(), Y)


def test_a_cell_of_a_mixed_column_is_named() -> None:
    mixed = pd.DataFrame({"length": np.arange(10.0), "size": [1, 2.5, "large", *range(7)]})
    with pytest.raises(st.InputError, match=r"X\['size'\]: expected numbers; X\['size'\]\[2\] is 'large'"):
        st.GDRegressor().fit(mixed, Y)
    objects = pd.DataFrame({"length": np.arange(10.0), "size": pd.Series([1, 2.5] * 5, dtype=object)})
    assert st.GDRegressor().fit(objects, Y).coef_ == pytest.approx(st.GDRegressor().fit(objects.astype(float), Y).coef_)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"method": pd.array([1, 2, None] * 4, dtype="Int64"), "b": range(12)}),
        pd.DataFrame({"method": [1.0, 2.0, np.nan] * 4, "b": range(12)}),
        pl.DataFrame({"method": [1, 2, None] * 4, "b": range(12)}),
        pa.table({"method": [1.5, 2.5, None] * 4, "b": range(12)}),
    ],
    ids=["pandas-masked", "pandas", "polars", "pyarrow"],
)
def test_a_missing_value_is_named(frame: Any) -> None:
    for early_stopping in (False, True):
        with pytest.raises(st.InputError, match=r"X\[2, 0\] \(column 'method'\) is NaN; drop or fill such cells first"):
            st.GDRegressor(early_stopping=early_stopping).fit(frame, np.arange(12.0))
    whole = pd.DataFrame({"method": np.arange(12.0), "b": np.arange(12.0) % 5})
    model = st.GDRegressor().fit(whole, np.arange(12.0))
    with pytest.raises(st.InputError, match=r"X\[2, 0\] \(column 'method'\) is NaN"):
        model.predict(frame)


def test_all_kinds_of_numbers() -> None:
    frame = pd.DataFrame(
        {
            "flag": [True, False] * 5,
            "small": np.arange(10, dtype=np.uint8),
            "single": np.arange(10, dtype=np.float32) / 2,
            "masked": pd.array(range(10), dtype="Int64"),
        }
    )
    matrix, names = as_matrix("X", frame)
    assert names == ["flag", "small", "single", "masked"]
    assert matrix.dtype == np.float64
    assert matrix.flags.f_contiguous
    assert np.array_equal(matrix, frame.astype(float).to_numpy())


#: Times in nanoseconds: as float64, their last bits are rounded.
TIMES = 1_700_000_000_000_000_000 + 3_600_000_000_001 * np.arange(10)
WHOLE: dict[str, Any] = {
    "pandas": pd.DataFrame,
    "pandas, masked": lambda columns: pd.DataFrame(columns, dtype="Int64"),
    "pandas of Arrow": lambda columns: pd.DataFrame(columns, dtype="int64[pyarrow]"),
    "polars": pl.DataFrame,
    "polars, of 128 bits": lambda columns: pl.DataFrame(columns).cast(pl.Int128),
    "pyarrow": pa.table,
    "pyarrow, in chunks": lambda columns: pa.concat_tables([pa.table(columns).slice(0, 4), pa.table(columns).slice(4)]),
    "capsule": lambda columns: Capsule(pa.table(columns)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_integers_beyond_those_of_float64_are_rounded_as_numpy_does(kind: str) -> None:
    columns = {"time": TIMES, "step": np.arange(10)}
    rounded = np.column_stack([TIMES, np.arange(10)]).astype(np.float64)
    assert not np.array_equal(rounded[:, 0].astype(np.int64), TIMES)
    assert np.array_equal(as_matrix("X", WHOLE[kind](columns))[0], rounded)
    fit = st.descend(WHOLE[kind](columns), Y, alpha=1.0, n_steps=3, precondition=True)
    assert np.array_equal(fit.coef, st.descend(rounded, Y, alpha=1.0, n_steps=3, precondition=True).coef)


@pytest.mark.parametrize("kind", ["pandas of Arrow", "polars", "pyarrow"])
def test_a_missing_value_beside_large_integers_is_named(kind: str) -> None:
    with pytest.raises(st.InputError, match=r"X\[10, 0\] \(column 'time'\) is nan; drop"):
        st.descend(WHOLE[kind]({"time": [*TIMES.tolist(), None]}), np.arange(11.0))


def test_sparse_columns_stay_sparse() -> None:
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(BLOCK), columns=NAMES)
    matrix, names = as_matrix("X", frame)
    assert sparse.issparse(matrix)
    assert names == NAMES
    model = st.GDRegressor().fit(frame, Y)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.coef_ == pytest.approx(st.GDRegressor().fit(BLOCK, Y).coef_)
    holes = pd.DataFrame({"a": pd.arrays.SparseArray([1.0, np.nan, np.nan])})
    with pytest.raises(st.InputError, match="X: expected sparse columns of which most are 0"):
        as_matrix("X", holes)


def test_what_is_no_table_in_memory_is_refused() -> None:
    with pytest.raises(st.InputError, match=r"X: expected a frame in memory; got a lazy one; X.collect\(\) makes one"):
        st.GDRegressor().fit(pl.DataFrame(BLOCK).lazy(), Y)
    with pytest.raises(st.InputError, match="X: expected columns of different names"):
        st.GDRegressor().fit(pd.DataFrame(BLOCK, columns=["a", "a", "b"]), Y)
    with pytest.raises(ValueError, match=r"Expected (a 2-dimensional container|2D array)"):
        st.GDRegressor().fit(pd.Series(Y), Y)


def test_names_that_are_not_text_are_not_kept() -> None:
    model = st.GDRegressor().fit(pd.DataFrame(BLOCK), Y)
    assert not hasattr(model, "feature_names_in_")
    assert np.array_equal(model.predict(BLOCK), model.predict(pd.DataFrame(BLOCK)))


def test_what_a_frame_is() -> None:
    for make in FRAMES.values():
        assert is_frame(make(BLOCK))
    for other in (BLOCK, [[1.0]], Tensor(BLOCK), sparse.csr_matrix(BLOCK), 3.0, None):
        assert not is_frame(other)
        assert as_frame("X", other) is other


class Name(str):
    """A name that counts how often any is compared or looked up."""

    __slots__ = ()
    n_looks = 0

    def __eq__(self, other: object) -> bool:
        Name.n_looks += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Name.n_looks += 1
        return str.__hash__(self)


def test_names_of_many_columns_are_looked_up_not_searched_for() -> None:
    """Tables of tens of thousands of columns are common: of genes, of words."""
    names: list[str] = [Name(number) for number in range(1000)]
    Name.n_looks = 0
    Names.of("X", names, names[0], None, None)
    with pytest.raises(st.InputError, match="got them in another order"):
        expect_names("X", names[::-1], names)
    assert Name.n_looks < 20 * len(names)


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a mark of the order of bytes before the first name, and lines that end as in Windows."""
    plain, marked = tmp_path / "plain.csv", tmp_path / "marked.csv"
    text = "größe,price\n1,2\n2,4.5\n3,6\n"
    plain.write_bytes(text.encode())
    marked.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_table(marked).equals(read_table(plain))
    fits = [st.descend(path, "price", method="newton", n_steps=3) for path in (plain, marked)]
    assert fits[0].feature_names == fits[1].feature_names == ["größe"]
    assert fits[0].coef.tobytes() == fits[1].coef.tobytes()
