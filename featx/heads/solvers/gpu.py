"""Detection of a GPU that XGBoost can grow its trees on."""

import ctypes
from functools import cache


@cache
def has_gpu() -> bool:
    """Return whether XGBoost was built for CUDA and the driver finds a device."""
    import xgboost

    if not xgboost.build_info().get("USE_CUDA"):
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        # No driver is installed.
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
