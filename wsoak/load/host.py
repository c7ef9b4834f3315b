"""Host: where the load goes, the mistakes in what says so, and the embedded target where nothing does."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Final

from locust.env import Environment
from locust.runners import MasterRunner

from wsoak.load.options import REFERENCE, BadOptions, Options
from wsoak.load.roster import forked
from wsoak.load.shape_option import parse_shape
from wsoak.load.target_process import TargetProcess
from wsoak.wire.addresses import family_of, is_literal
from wsoak.wire.endpoint import BadUrl, Endpoint
from wsoak.wire.proxy import BadProxy, passed_by, proxy_for
from wsoak.wire.sources import FAMILY_NAMES

log = logging.getLogger(__name__)

LEAST_ACCOUNTS: Final = 2_000
"""How many accounts the embedded target seeds at least: the web UI does not know yet how many users come."""
MOST_ACCOUNTS: Final = 100_000
"""And at most: more would take it longer than 5 s to start."""

NOT_FROM_ELSEWHERE: Final = (
    "Give a --host: the embedded target listens on this machine's loopback only, and workers "
    "elsewhere cannot reach it."
)


def host_of(environment: Environment) -> str | None:
    """The host as Locust will use it: the option's, else the first user class's that names one."""
    if environment.host:
        return environment.host
    return next((user_class.host for user_class in environment.user_classes if user_class.host), None)


def mistakes_in(parsed: Namespace | None, *hosts: str | None) -> list[str]:
    """Everything that is wrong with the options and the hosts, where there are some; a sentence each."""
    mistakes: list[str] = []
    endpoints: list[Endpoint] = []
    for host in hosts:
        try:
            if host is not None:
                endpoints.append(Endpoint.of(host))
        except BadUrl as error:
            mistakes.append(str(error))
    try:
        options = Options.of(parsed)
    except BadOptions as error:
        return [*error.mistakes, *mistakes]
    if options.client == REFERENCE:
        for endpoint in endpoints:
            try:
                proxy_for(endpoint, os.environ)
            except BadProxy as error:
                mistakes.append(str(error))
    return [*mistakes, *_unreachable_from(options.source_ips, endpoints)]


def _unreachable_from(sources: Sequence[str], endpoints: Sequence[Endpoint]) -> list[str]:
    """What ``--source-ips`` cannot reach for want of an address of the same family.

    Of a host with a name only its look-up says which families it has: that is the preflight's.
    """
    ours = {family_of(address) for address in sources}
    return [
        f"--source-ips: the host {endpoint.host} is an {FAMILY_NAMES[family]} address, and none of the "
        f"source addresses is."
        for endpoint in endpoints
        if ours and is_literal(endpoint.host) and (family := family_of(endpoint.host)) not in ours
    ]


def proxies_passed_by(environment: Environment, options: Options) -> list[str]:
    """What to say of the proxies that the environment names, and that the sockets do not go through."""
    if options.client == REFERENCE:
        return []
    hosts = {environment.host or each.host for each in environment.user_classes} - {None}
    said = (passed_by(Endpoint.of(host), os.environ) for host in sorted(map(str, hosts)))
    return [sentence for sentence in said if sentence]


def start_target(environment: Environment, start: Callable[[int], TargetProcess]) -> TargetProcess:
    """Start the embedded target, and make it the host.

    Args:
        start: starts one with so many accounts.

    Raises:
        options.BadOptions: where there may be workers that could not reach it.
        target_process.TargetFailed: when it does not start.
    """
    parsed = environment.parsed_options
    if isinstance(environment.runner, MasterRunner) and not forked(environment):
        raise BadOptions([NOT_FROM_ELSEWHERE])
    options = Options.of(parsed)
    peak = parse_shape(options.shape).peak_users if options.shape else 0
    users = max(getattr(parsed, "num_users", None) or 0, peak)
    # where a socket is a device's, it has an account of its own
    target = start(min(max(LEAST_ACCOUNTS, users * options.sockets_per_user), MOST_ACCOUNTS))
    environment.host = target.url
    log.info("No host was given: load goes to the embedded target at %s.", target.url)
    return target
