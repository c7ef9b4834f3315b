"""System: what one system under test brings to the target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from target.faults import Faults
from target.metrics import Metrics
from target.options import Options
from target.sockets import SocketRoute
from target.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What every system may use."""

    options: Options
    secret: str
    store: Store
    faults: Faults
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Routes:
    """What a system answers: HTTP routes for Starlette, socket routes for the protocol class."""

    http: Sequence[BaseRoute] = ()
    sockets: Sequence[SocketRoute] = ()


@dataclass(frozen=True, slots=True)
class System:
    """One system: its name (label in the metrics, first part of its faults) and how its routes are made."""

    name: str
    routes: Callable[[Services], Routes]
