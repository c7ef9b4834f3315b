"""Made runs, one each a session; tests that write copy theirs first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.frames import load
from analysis.report import write_report
from tests.analysis.runs import SCENES, made


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run directory of a scene by its name; to be read only."""
    root = tmp_path_factory.mktemp("scenes")

    def of(name: str) -> Path:
        path = root / name
        return path if path.exists() else made(path, run_id=name, **SCENES[name])

    return of


@pytest.fixture(scope="session")
def reported(scene: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of a scene's run directory with its report, drawn once; to be read only."""
    root = tmp_path_factory.mktemp("reported")

    def of(name: str) -> Path:
        path = root / name
        if not path.exists():
            shutil.copytree(scene(name), path)
            write_report(load(path))
        return path

    return of


@pytest.fixture
def own_scene(scene: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a scene's run directory, to write into."""

    def of(name: str) -> Path:
        return Path(shutil.copytree(scene(name), tmp_path / name))

    return of
