import ml_dtypes
import numpy as np
import pytest

from restr_jax.models import strict


def test_all_problems_are_reported_at_once():
    found = {"a": (2, 3), "b": (4,), "extra": (1,), "free": (9, 9)}
    expected = {"a": (2, 3), "b": (5,), "absent": (7, 8), "free": None}
    with pytest.raises(ValueError) as error:
        strict.check(found, expected, "The file x.npz", "Give another one.")
    assert str(error.value).splitlines() == [
        "The file x.npz does not fit:",
        "1 missing:",
        "  absent (7, 8)",
        "1 not expected:",
        "  extra (1,)",
        "1 of another shape:",
        "  b (4,), not (5,)",
        "Give another one.",
    ]
    del found["extra"]
    strict.check(found | {"b": (5,), "absent": (7, 8)}, expected, "It", "")


def test_long_lists_are_truncated():
    expected = {f"layer_{i}": (1,) for i in range(300)}
    with pytest.raises(ValueError, match=r"300 missing:[\s\S]*and 280 more"):
        strict.check({}, expected, "The file", "")


def test_half_precision_is_read_and_other_types_are_refused():
    for dtype in (np.float16, np.float64, ml_dtypes.bfloat16):
        array = strict.as_float32("w", np.array([0.5, -2.0], dtype))
        assert array.dtype == np.float32 and array.tolist() == [0.5, -2.0]
    with pytest.raises(ValueError, match="w holds int8, not floating-point"):
        strict.as_float32("w", np.zeros(3, np.int8))
    with pytest.raises(ValueError, match="w holds values that are not finite"):
        strict.as_float32("w", np.array([1.0, np.nan]))
