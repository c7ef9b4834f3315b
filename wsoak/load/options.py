"""Options: what wsoak adds to Locust's command line, config file, environment and web form.

Each option is declared once, in ``OPTIONS``; ``Options.of`` checks all of them together, so that a user
sees every mistake at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from wsoak.judge.gates import BadGates, Gate, parse_gates
from wsoak.load.header import without_credentials
from wsoak.load.shape_option import HELP as SHAPE_HELP
from wsoak.load.shape_option import parse_shape
from wsoak.wire.addresses import DEFAULT_DNS, parse_policy, pinned

LOCAL_OPTIONS: Final = ("source_ips", "watch", "tls_ca", "tls_client_cert", "gates")
"""What belongs to a worker's own host, and is given on its own command line."""

ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@]+", re.IGNORECASE)
"""A serialized origin (RFC 6454 section 6.2)."""

REFERENCE: Final = "reference"
CLIENTS: Final = ("fast", REFERENCE)
RECONNECTS: Final = ("none", "backoff", "immediate")
NO_CHECKS: Final = "none"
CHECKS: Final = (NO_CHECKS, "preflight", "security")


class BadOptions(ValueError):
    """Options that cannot be used; one sentence for each mistake in ``mistakes``."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its flag, default, help with unit, and how it appears in Locust."""

    flag: str
    default: str | int | float | bool
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    in_web_form: bool = True
    repeatable: bool = False

    @property
    def dest(self) -> str:
        """The name of the value in Locust's parsed options."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def env_var(self) -> str:
        """The environment variable that sets it, such as ``WSOAK_MESSAGE_RATE``."""
        return f"WSOAK_{self.dest.upper()}"


OPTIONS: Final = (
    Option("--run-dir", "", "Folder to write the run to; default: results/RUN-ID.", "DIR", in_web_form=False),
    Option("--client", "fast", "fast: wsoak's own client; reference: websocket-client.", choices=CLIENTS),
    Option(
        "--checks",
        "preflight",
        "Before the load: nothing; a rehearsal; or that and the doors that must be shut.",
        choices=CHECKS,
    ),
    Option("--accounts", "", "CSV, JSON or JSONL file of accounts, one a user.", "FILE", in_web_form=False),
    Option("--sockets-per-user", 1, "WebSockets that each user holds open.", "N"),
    Option(
        "--message-rate",
        1.0,
        "Messages a second on each socket; 0: the next as soon as one is answered.",
        "N",
    ),
    Option("--message-size", 64, "Size of a message, in bytes, where the scenario leaves it open.", "BYTES"),
    Option("--handshake-timeout", 10.0, "Seconds for an opening, from look-up to 101.", "SECONDS"),
    Option("--reply-timeout", 10.0, "Seconds after which a request counts as failed.", "SECONDS"),
    Option("--close-timeout", 5.0, "Seconds to wait for the answer to a close frame.", "SECONDS"),
    Option(
        "--heartbeat",
        0.0,
        "Seconds between protocol pings; a peer silent for three is lost; 0: none.",
        "SECONDS",
    ),
    Option(
        "--arrival-rate",
        0.0,
        "Open model: sessions that arrive a second, whoever is free; 0: users begin anew when they end.",
        "N",
    ),
    Option("--arrival-patience", 10.0, "Seconds that an arrival waits for a free user.", "SECONDS"),
    Option("--shape", "", SHAPE_HELP, "KIND:KEY=VALUE,..."),
    Option(
        "--reconnect",
        "backoff",
        "Before the next attempt after a failure: back off, retry at once, or never.",
        choices=RECONNECTS,
    ),
    Option("--retry-pause", 0.0, "Seconds that immediate waits, as a bad client's own loop does.", "SECONDS"),
    Option(
        "--no-retry-codes",
        "1008,4001,4003,4401,4403",
        "Close codes after which a socket is not opened again under --reconnect backoff.",
        "CODE,CODE",
    ),
    Option(
        "--latency-limit",
        0.0,
        "The response time that matters to you, in ms; a tenth of it is the most that the generator may add; "
        "0: the least that a gate asks for, or 1000.",
        "MS",
    ),
    Option("--gates", "", "TOML file of what the run must meet: docs/gates.md.", "FILE", in_web_form=False),
    Option(
        "--dns",
        DEFAULT_DNS,
        "How long a look-up holds (seconds, 5m, 0, inf), and which address is tried first: first, each in "
        "turn (roundrobin), or random.",
        "ttl=SECONDS,select=HOW",
    ),
    Option(
        "--resolve",
        "",
        "Address to take for a host and port, instead of a look-up; may be given again.",
        "HOST:PORT:ADDRESS",
        in_web_form=False,
        repeatable=True,
    ),
    Option(
        "--origin",
        "",
        "Origin header of sockets for which the scenario gives none, such as https://app.example.com.",
        "ORIGIN",
    ),
    Option("--source-ips", "", "Local addresses to connect from, in turn.", "IP,IP", in_web_form=False),
    Option(
        "--watch",
        "",
        "Process id or metrics URL of the server: its CPU, memory and descriptors are recorded.",
        "PID|URL",
        in_web_form=False,
    ),
    Option(
        "--tls-ca",
        "",
        "PEM file of certificates to trust, instead of the system's.",
        "FILE",
        in_web_form=False,
    ),
    Option("--tls-client-cert", "", "PEM file with our certificate and key.", "FILE", in_web_form=False),
    Option("--tls-insecure", False, "Accept any certificate (for test servers only).", in_web_form=False),
    Option(
        "--request-events", False, "Fire Locust's request event for every message (slow).", in_web_form=False
    ),
)


def add_options(parser: Any) -> None:
    """Declare ``OPTIONS`` to a Locust argument parser; Locust does this again for each page of its web UI."""
    group = parser.add_argument_group("WebSocket load (wsoak)")
    for option in OPTIONS:
        arguments: dict[str, Any] = {
            "env_var": option.env_var,
            "default": option.default,
            "help": option.help,
        }
        if isinstance(option.default, bool):
            arguments["action"] = "store_true"
        elif option.repeatable:
            arguments |= {"action": "append", "default": None, "metavar": option.metavar}
        else:
            arguments |= {"type": str if isinstance(option.default, str) else _number(option.default)}
            arguments |= {"metavar": option.metavar}
        action = group.add_argument(option.flag, **arguments)
        if option.choices:
            action.choices = _Shown(option.choices)
        # Locust's parser takes these as arguments, its argument groups do not
        action.include_in_web_ui = option.in_web_form
        action.is_secret = action.is_required = action.is_multiple = False


# argparse stops at the first value that it refuses: it is given nothing to refuse, and Options.of checks all


def _number(default: float) -> Callable[[str], float | str]:
    def number(text: str) -> float | str:
        try:
            return float(text) if isinstance(default, float) else int(text)
        except ValueError:
            return text

    return number


class _Shown(tuple[str, ...]):
    """Choices that the help and the web form show."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run, checked. Times in seconds, but ``latency_limit`` in milliseconds."""

    run_dir: Path | None
    client: str
    checks: str
    accounts: Path | None
    sockets_per_user: int
    message_rate: float
    message_size: int
    handshake_timeout: float
    reply_timeout: float
    close_timeout: float
    heartbeat: float
    arrival_rate: float
    arrival_patience: float
    shape: str
    reconnect: str
    retry_pause: float
    no_retry_codes: tuple[int, ...]
    latency_limit: float
    gates: Path | None
    dns: str
    resolve: tuple[str, ...]
    origin: str
    source_ips: tuple[str, ...]
    watch: str
    tls_ca: str
    tls_client_cert: str
    tls_insecure: bool
    request_events: bool

    @classmethod
    def of(cls, parsed: Namespace | None) -> Options:
        """The options in Locust's parsed ones, or the defaults.

        Raises:
            BadOptions: with every mistake.
        """
        mistakes: list[str] = []
        values: dict[str, Any] = {}
        for option in OPTIONS:
            raw = getattr(parsed, option.dest, option.default) if parsed is not None else option.default
            try:
                values[option.dest] = _CHECKS[option.dest](option, raw)
            except BadGates as error:
                mistakes += [f"{option.flag}: {mistake}" for mistake in error.mistakes]
            except ValueError as error:
                mistakes.append(f"{option.flag}: {error}.")
        if mistakes:
            raise BadOptions(mistakes)
        # Locust's --otel exports from these events alone
        values["request_events"] |= bool(getattr(parsed, "otel", False))
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """The options as JSON values, for the run's record, without the credentials in a URL."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: without_credentials(str(value)) if isinstance(value, (str, Path)) else value
            for name, value in values.items()
        }


# ------------------------------------------------------------------------------------------------ checks

Check = Callable[[Option, Any], Any]


def _text(_: Option, raw: Any) -> str:
    return str(raw or "").strip()


def _flag(_: Option, raw: Any) -> bool:
    return raw is True or str(raw).lower() in ("true", "1", "yes", "on")


def _choice(option: Option, raw: Any) -> str:
    if raw not in (option.choices or ()):
        raise ValueError(f"{raw!r} is none of {', '.join(option.choices or ())}")
    return str(raw)


def _at_least(least: float, what: str, zero: bool = False) -> Check:
    def check(option: Option, raw: Any) -> Any:
        kind: Callable[[Any], float] = float if isinstance(option.default, float) else int
        try:
            value = kind(raw)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{raw!r} is not {what}") from None
        # also refuses "nan", which compares with nothing
        if not least <= value <= MOST and not (zero and value == 0):
            raise ValueError(f"{raw!r} is not {what}")
        return value

    return check


def _file(_: Option, raw: Any) -> str:
    path = str(raw or "").strip()
    # not is_file: a pipe, as of a shell's <(…), will do
    if path and (not os.access(path, os.R_OK) or Path(path).is_dir()):
        raise ValueError(f"the file {path} cannot be read")
    return path


def _optional_path(check: Check) -> Check:
    def path(option: Option, raw: Any) -> Path | None:
        text = check(option, raw)
        return Path(text) if text else None

    return path


def read_gates(path: Path | None) -> list[Gate]:
    """The gates in a file; none without one.

    Raises:
        judge.gates.BadGates: with every mistake.
        OSError: when it cannot be read.
    """
    return [] if path is None else parse_gates(path.read_bytes(), str(path))


def _gates(option: Option, raw: Any) -> Path | None:
    path = _optional_path(_file)(option, raw)
    if path is None:
        return None
    # not a pipe: it is read again when the run begins
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        read_gates(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    return Path(path)


def _source_ips(_: Option, raw: Any) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in str(raw or "").split(",") if part.strip())
    for address in addresses:
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
            with socket.socket(family) as probe:
                probe.bind((address, 0))
        except ValueError:
            raise ValueError(f"{address} is not an IP address") from None
        except OSError as error:
            raise ValueError(f"{address} is not an address of this machine ({error.strerror})") from None
    return addresses


def _watch(_: Option, raw: Any) -> str:
    text = str(raw or "").strip()
    if text.isdecimal():
        if not 0 < int(text) <= MOST or not psutil.pid_exists(int(text)):
            raise ValueError(f"there is no process {text}")
    elif text and not _is_http_url(text):
        shown = without_credentials(text)
        raise ValueError(f"{shown} is neither a process id nor the http URL of a metrics page")
    return text


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


LEAST: Final = 1e-9
MOST: Final = 1e9
"""Bounds of every number: beyond them, nanoseconds and intervals no longer fit a float."""

_positive = _at_least(LEAST, "a number above 0, up to a billion")
_not_negative = _at_least(LEAST, "a number, 0 or above, up to a billion", zero=True)


def _codes(_: Option, raw: Any) -> tuple[int, ...]:
    parts = [part.strip() for part in str(raw or "").split(",") if part.strip()]
    wrong = [part for part in parts if not (part.isascii() and part.isdigit() and 1000 <= int(part) <= 4999)]
    if wrong:
        raise ValueError(f"{wrong[0]} is no close code (1000 to 4999)")
    return tuple(int(part) for part in parts)


def _shape(option: Option, raw: Any) -> str:
    text = _text(option, raw)
    if text:
        parse_shape(text)
    return text


def _dns(option: Option, raw: Any) -> str:
    text = _text(option, raw)
    parse_policy(text)
    return text


def _origin(option: Option, raw: Any) -> str:
    text = _text(option, raw)
    if text and not ORIGIN.fullmatch(text):
        raise ValueError("it must be as browsers send it: https://HOST, or https://HOST:PORT, or null")
    return text


def _pins(_: Option, raw: Any) -> tuple[str, ...]:
    given = raw if isinstance(raw, (list, tuple)) else (raw or "",)
    texts = tuple(text for each in given for text in str(each).split())
    pinned(texts)
    return texts


_CHECKS: Final[dict[str, Check]] = {
    "arrival_rate": _not_negative,
    "arrival_patience": _positive,
    "shape": _shape,
    "no_retry_codes": _codes,
    "run_dir": _optional_path(_text),
    "client": _choice,
    "checks": _choice,
    "accounts": _optional_path(_file),
    "sockets_per_user": _at_least(1, "a whole number, 1 or above"),
    "message_rate": _not_negative,
    "message_size": _at_least(0, "a whole number of bytes, 0 or above"),
    "handshake_timeout": _positive,
    "reply_timeout": _positive,
    "close_timeout": _positive,
    "heartbeat": _not_negative,
    "reconnect": _choice,
    "retry_pause": _not_negative,
    "latency_limit": _not_negative,
    "gates": _gates,
    "dns": _dns,
    "resolve": _pins,
    "origin": _origin,
    "source_ips": _source_ips,
    "watch": _watch,
    "tls_ca": _file,
    "tls_client_cert": _file,
    "tls_insecure": _flag,
    "request_events": _flag,
}
