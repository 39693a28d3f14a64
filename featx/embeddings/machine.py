"""The properties of this machine on which the rounding of numbers depends, read without importing a runtime."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featx.specs.base import fingerprint
from featx.specs.extraction import Runtime

CPUINFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
RUNTIME_PACKAGES = ("torch", "onnxruntime", "openvino")
# Runtimes that compute in fp32 on the CPU, in the order in which they are benchmarked.
CPU_RUNTIMES: tuple[Runtime, ...] = ("torch", "onnx", "openvino")


def arithmetic() -> dict[str, str]:
    """Return the processor, the GPUs' models and the runtimes' versions."""
    return {"cpu": cpu(), "gpus": ", ".join(_gpu_models())} | {name: package_version(name) for name in RUNTIME_PACKAGES}


def describe_machine() -> str:
    """Return the number of cores and the name of the processor."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {names[0] if names else platform.processor() or platform.machine()}"


def cpu() -> str:
    """Return 16 hexadecimal digits that identify the processor's model and instruction sets."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    model = {line for line in lines if line.startswith(("model name", "flags"))}
    return fingerprint(sorted(model) or [platform.processor(), platform.machine()])


def package_version(package: str) -> str:
    """Return a package's version, empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpu_models() -> list[str]:
    files = [file.read_text().splitlines() for file in sorted(NVIDIA_GPUS.glob("*/information"))]
    return [line.partition(":")[2].strip() for lines in files for line in lines if line.startswith("Model")]
