"""Recording: runs of two servers that were made by turns on one generator, as ``baseline.json`` marks them.

    {"recorded_at": Unix seconds, "before": URL, "after": URL,
     "runs": [{"directory": "before-1", "run_id": …, "started_at": Unix seconds}, …]}

The file lies beside the runs' directories, and has them in the order in which they were made. Their servers
are what is compared, and so may be on different hosts; runs of two hosts that were made one by one may not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wsoak.ledger.rundir import RunReader, write_json

RECORDING_FILE: Final = "baseline.json"


class Recording:
    """A recording under way; marked after each run, so that what was made counts if it is cut short.

    Args:
        directory: where the runs' directories are.
        urls: the server of each side, without credentials.
    """

    def __init__(self, directory: Path, urls: Mapping[str, str]) -> None:
        self._path = directory / RECORDING_FILE
        self._runs: list[dict[str, Any]] = []
        self._mark = {"recorded_at": time.time(), **urls, "runs": self._runs}

    def made(self, path: Path) -> None:
        """A run was made.

        Raises:
            UnreadableRun: when it left no record.
            OSError: when the disk refuses the mark.
        """
        reader = RunReader(path)
        started_at = reader.header.get("started_at")
        self._runs.append({"directory": path.name, "run_id": reader.run_id, "started_at": started_at})
        write_json(self._path, self._mark)


def recording_of(reader: RunReader) -> Path | None:
    """The mark of the recording that a run belongs to, if it belongs to one."""
    mark = reader.path.resolve().parent / RECORDING_FILE
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    runs = found.get("runs") if isinstance(found, dict) else None
    started_at = reader.header.get("started_at")
    for run in runs if isinstance(runs, list) else ():
        # not by the directory's name: another run may have been put there
        if isinstance(run, dict) and (run.get("run_id"), run.get("started_at")) == (
            reader.run_id,
            started_at,
        ):
            return mark
    return None
