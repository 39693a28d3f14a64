"""What of a machine decides how numbers are rounded, found without importing a runtime."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featx.specs.base import fingerprint

CPUINFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
RUNTIMES = ("torch", "onnxruntime", "openvino")


def arithmetic() -> dict[str, str]:
    """Return the processor, the GPUs' models and the runtimes' versions."""
    return {"cpu": cpu(), "gpus": ", ".join(_gpu_models())} | {name: package_version(name) for name in RUNTIMES}


def cpu() -> str:
    """16 hex digits of the processor's model and instruction sets."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    model = {line for line in lines if line.startswith(("model name", "flags"))}
    return fingerprint(sorted(model) or [platform.processor(), platform.machine()])


def package_version(package: str) -> str:
    """Return a package's version; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpu_models() -> list[str]:
    found = [file.read_text().splitlines() for file in sorted(NVIDIA_GPUS.glob("*/information"))]
    return [line.partition(":")[2].strip() for lines in found for line in lines if line.startswith("Model")]
