"""Whether XGBoost can grow its trees on a GPU here."""

import ctypes
from functools import cache


@cache
def is_here() -> bool:
    """Whether XGBoost was built for CUDA, and the driver finds a device."""
    import xgboost

    if not xgboost.build_info().get("USE_CUDA"):
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:  # there is no driver
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
