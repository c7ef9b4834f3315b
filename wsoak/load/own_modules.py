"""Own modules: a process of ours has our packages, and not a user's of the same names.

``python -m`` looks into the current folder first, and there may be an ``analysis`` or a ``target`` that is
not ours: a project's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import wsoak

ROOT: Final = Path(wsoak.__file__).parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """``python -m module``, without the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def surroundings() -> dict[str, str]:
    """The environment of such a process: our packages come before all others of their names."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def typed(module: str) -> str:
    """What to type for ``python -m module`` in the current folder."""
    shadowed = Path.cwd() != ROOT and any(path.exists() for path in (Path(module), Path(f"{module}.py")))
    return f"python {'-P ' if shadowed else ''}-m {module}"
