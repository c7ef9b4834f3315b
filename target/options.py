"""Options of the target: declared once, checked whole, before anything is opened."""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from target.faults import FAULTS, FaultChoice, FaultError, parse_fault

SECRET_VARIABLE = "WSOAK_JWT_SECRET"
REDIS_VARIABLE = "WSOAK_REDIS_URL"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that one process of the target is told; times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 0
    faults: tuple[FaultChoice, ...] = ()
    accounts: int = 1000
    database: Path | None = None
    redis_url: str | None = None
    stop_with_stdin: bool = False
    access_token_ttl_s: int = 3600
    ws_token_ttl_s: int = 300
    max_message_bytes: int = 1 << 20
    compression: bool = False


class OneSentenceParser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence on stderr, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}\n")
        sys.exit(2)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A converter for a whole number within bounds, both included."""

    def convert(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert


def fault(text: str) -> FaultChoice:
    """A converter for ``--fault``."""
    try:
        return parse_fault(text)
    except FaultError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def fault_lines() -> str:
    """The table of faults, as lines for the help."""
    lines = ["faults:"]
    for system, rows in FAULTS.items():
        for name, row in rows.items():
            lines.append(f"  {system}:{name}")
            lines.append(f"      {row.doc}")
            lines += [
                f"      :{key}={parameter.default}  {parameter.doc}"
                for key, parameter in row.parameters.items()
            ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m target``."""
    default = Options()
    made = OneSentenceParser(
        prog="python -m target",
        description="Serve the systems under test on one port, with their incidents as faults.",
        epilog=fault_lines().replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "--port",
        type=whole(0, 65535),
        required=True,
        metavar="P",
        help="port to listen on; 0 takes any free one",
    )
    add("--host", default=default.host, help="address to listen on (default %(default)s)")
    add(
        "--fault",
        type=fault,
        action="append",
        default=[],
        metavar="SYSTEM:FAULT[:key=value]…",
        help="start with this fault on; may be given several times",
    )
    add(
        "--accounts",
        type=whole(1, 1_000_000),
        default=default.accounts,
        metavar="N",
        help="accounts to seed, from 13900000002 on (default %(default)s)",
    )
    add(
        "--db",
        type=Path,
        metavar="PATH",
        help="SQLite file to keep (default: a temporary one, removed at the end)",
    )
    add(
        "--redis-url",
        default=os.environ.get(REDIS_VARIABLE) or None,
        metavar="URL",
        help="carry events by way of this Redis, which must answer (default: what the environment has in "
        f"{REDIS_VARIABLE}, which hides a password; else within the process)",
    )
    add(
        "--stop-with-stdin",
        action="store_true",
        help="stop when stdin reaches its end, as when the parent dies",
    )
    add(
        "--access-token-ttl",
        type=whole(1, 10**9),
        default=default.access_token_ttl_s,
        metavar="S",
        help="life of an access token in seconds (default %(default)s)",
    )
    add(
        "--ws-token-ttl",
        type=whole(1, 10**9),
        default=default.ws_token_ttl_s,
        metavar="S",
        help="life of a socket token in seconds (default %(default)s)",
    )
    add(
        "--max-message-bytes",
        type=whole(1, 1 << 30),
        default=default.max_message_bytes,
        metavar="N",
        help="largest message taken; beyond it close 1009 (default %(default)s)",
    )
    add("--compression", action="store_true", help="offer permessage-deflate (off by default)")
    return made


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Options from a command line; on a mistake one sentence on stderr and SystemExit(2)."""
    given = parser().parse_args(arguments)
    return Options(
        host=given.host,
        port=given.port,
        faults=tuple(given.fault),
        accounts=given.accounts,
        database=given.db,
        redis_url=given.redis_url,
        stop_with_stdin=given.stop_with_stdin,
        access_token_ttl_s=given.access_token_ttl,
        ws_token_ttl_s=given.ws_token_ttl,
        max_message_bytes=given.max_message_bytes,
        compression=given.compression,
    )


def jwt_secret() -> str:
    """The secret that tokens are signed with: from the environment, or else a random one for this process."""
    return os.environ.get(SECRET_VARIABLE) or secrets.token_hex(32)
