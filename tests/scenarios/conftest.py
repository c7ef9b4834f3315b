"""The load's fixtures serve the scenarios too."""

from __future__ import annotations

from tests.load.conftest import command_line, patient, target

__all__ = ["command_line", "patient", "target"]
