"""How far rounding may carry a result: the one place where tests get their tolerances from."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Roundings beside the sums: products, divisions, an exponential and a logarithm of a few units each.
HANDFUL = 8


def tolerance(dtype: Any, terms: int, condition: float = 1.0) -> float:
    """Return the share of the sum of the magnitudes of its terms by which a result may be off.

    A chain of `terms` roundings is off by at most terms · u / (1 − terms · u) of that sum, u half of eps (Higham 2002,
    section 3.1); here every term is rounded twice, once as a product and once in the sum. `condition` is by how much
    the problem itself magnifies such an error.
    """
    return (terms + HANDFUL) * float(np.finfo(dtype).eps) * condition
