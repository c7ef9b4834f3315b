"""``python -m target``: exit code 0 after a clean stop, 2 where it could not start."""

import io
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing

from target.app import label_names, make_app
from target.bus import BusError
from target.faults import Faults
from target.metrics import Metrics
from target.options import jwt_secret, read_options
from target.server import (
    BindError,
    bind,
    end_on_signals,
    ignore_signals,
    log_to_stderr,
    raise_descriptor_limit,
    run,
)
from target.store import Store, StoreError
from target.system import Services


def complain(sentence: str) -> int:
    """One sentence on stderr; returns exit code 2."""
    sys.stderr.write(f"python -m target: {sentence}\n")
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a help on a console that is not UTF-8
        sys.stdout.reconfigure(errors="replace")
    options = read_options(arguments)
    log_to_stderr()
    end_on_signals()
    raise_descriptor_limit()
    try:
        bound = bind(options.host, options.port)
        store = Store(options.database)
    except (BindError, StoreError) as exc:
        return complain(str(exc))
    with closing(store):
        faults = Faults(options.faults)
        services = Services(options, jwt_secret(), store, faults, Metrics(faults, label_names()))
        try:
            app, plan = make_app(services)
        except BusError as exc:
            return complain(str(exc))
        except sqlite3.Error as exc:
            return complain(f"cannot use the database {options.database}: {exc}")
        run(app, plan, bound, until_stdin_ends=options.stop_with_stdin)
    ignore_signals()
    return 0


if __name__ == "__main__":
    sys.exit(main())
