"""Header: what ``run.json`` says of a run when it begins: what, where, by whom, with which versions."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

from wsoak import __version__
from wsoak.judge.latency_limit import LatencyLimit

PACKAGES: Final = ("locust", "gevent", "websocket-client", "PyJWT", "numpy", "hdrhistogram")

_PARAMETER: Final = re.compile(r"([?&#](?=[^&#\s])(?:[^=&#\s]+=)?)[^&#\s]*")
"""A parameter of a query or fragment: its beginning with its name, where it has one, and its value."""

_SECRET_OPTION: Final = re.compile(r"(pass|secret|token|key|cred|auth)", re.IGNORECASE)


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command as it was given, with what may be a secret masked, and the program without its folder."""
    shown: list[str] = [Path(program).name for program in arguments[:1]]
    mask_next = False
    for argument in arguments[1:]:
        name, equals, _ = argument.partition("=")
        # an option, as argparse takes no value that begins so: then the one before was a mere flag
        if mask_next and not argument.startswith("--"):
            shown.append("***")
            mask_next = False
        elif argument.startswith("--") and _SECRET_OPTION.search(name):
            shown.append(f"{name}=***" if equals else argument)
            mask_next = not equals
        else:
            shown.append(without_credentials(argument))
            mask_next = False
    return shown


def without_credentials(text: str) -> str:
    """A URL without user, password and the values in its query and fragment; any other text as it is."""
    # to the last @: a password can hold any character, and too much masked does no harm
    text = re.sub(r"(\w+://)\S*@", r"\1***@", text)
    return _PARAMETER.sub(r"\1***", text) if "://" in text else text


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that make the load."""
    found = {"wsoak": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Facts of the generator's host that bound what it can do. Memory in bytes."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def git_revision() -> str | None:
    """The scenarios' repository revision, ``+`` at its end where files were changed; ``None`` without."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def run_header(
    run_id: str,
    started_at: float,
    scenarios: Iterable[str],
    host: str,
    options: dict[str, Any],
    limit: LatencyLimit,
) -> dict[str, Any]:
    """What ``run.json`` says from the start on. ``started_at`` is Unix time in seconds."""
    return {
        "run_id": run_id,
        "started_at": started_at,
        "command": command_line(sys.argv),
        "scenarios": list(scenarios),
        "host": without_credentials(host),
        "options": options,
        **limit.to_json(),
        "versions": versions(),
        "machine": machine(),
        "git_revision": git_revision(),
        "pid": os.getpid(),
    }
