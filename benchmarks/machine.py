"""The machine that figures were measured on, as tables name it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name, as Linux tells it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def cores() -> str:
    """The processor's name and its number of cores."""
    return f"{processor()}, {os.cpu_count()} cores"
