"""The C helpers of the benchmarks, compiled where they are needed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).with_name("native")


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the helpers; what each does is written at its source's top."""

    service: str
    launch: str
    loop: str


def build(folder):
    """Compile all helpers into a folder: static, so that their own start costs little."""
    for name in Tools.__slots__:
        source = _SOURCES / f"{name}.c"
        command = ["gcc", "-O2", "-static", "-Wall", "-o", f"{folder}/{name}", str(source)]
        subprocess.run(command, check=True)
    return Tools(*(f"{folder}/{name}" for name in Tools.__slots__))
