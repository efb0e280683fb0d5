"""Weights of classes where the rows lie in blocks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.streams import check_lasting
from steepest.validation import as_labels, weights_of

if TYPE_CHECKING:
    from steepest.blocks import Blocks, Rows


def weighted_by_class(blocks: Blocks, class_weight: Any) -> Blocks:
    """Return the blocks with each row's weight times that of its class; ``"balanced"`` takes a pass to find these."""
    if class_weight is None:
        return blocks
    if isinstance(class_weight, str) and class_weight == "balanced":
        check_lasting(blocks)
        totals: Counter[Any] = blocks.reduce(_totals, Counter.__add__) or Counter()
        total = sum(totals.values())
        class_weight = {label: total / (len(totals) * own) for label, own in totals.items()}
    if not isinstance(class_weight, dict):
        raise InputError(f"class_weight: expected a dict, 'balanced' or None; got {class_weight!r}")
    return blocks.map(_weighed, class_weight)


def _totals(rows: Rows) -> Counter[Any]:
    """Return what the rows of each class weigh."""
    labels, found = as_labels("y", rows.y, rows.n_rows)
    weights = None if rows.sample_weight is None else weights_of(rows.sample_weight, rows.n_rows)
    sums = np.bincount(np.searchsorted(found, labels), weights)
    return Counter(dict(zip(found.tolist(), sums.tolist(), strict=True)))


def _weighed(rows: Rows, class_weight: dict[Any, float]) -> Rows:
    if rows.n_rows == 0:
        return rows
    labels, found = as_labels("y", rows.y, rows.n_rows)
    own = np.array([class_weight.get(label, 1.0) for label in found.tolist()])[np.searchsorted(found, labels)]
    return rows._replace(
        sample_weight=own if rows.sample_weight is None else own * weights_of(rows.sample_weight, rows.n_rows)
    )
