"""The embedded target: real WebSocket back ends with their incidents as faults, in a process of their own.

Files, in reading order:

- ``options``   what can be said on the command line;
- ``faults``    the table of faults, and which of them are on;
- ``tokens``    JWTs of several kinds;
- ``store``     SQLite: one writer with group commit, one reader on a thread;
- ``metrics``   counters that a harness's books can be compared with;
- ``drops``     every socket dropped on command, the slow come-back, and the log of both;
- ``capacity``  a queue that lets so many messages a second through, for the fault of that name;
- ``leaks``     memory and sockets that are never given back, for the faults of these names;
- ``sockets``   the WebSocket protocol class: handshake, frames, closes, transport faults;
- ``system``    what one system brings: HTTP routes and socket routes;
- ``messages``  what the JSON messages of all systems have in common;
- ``passwords`` how a password is kept;
- ``bus``       events between who makes them and who forwards them: in-process, or Redis;
- ``echo``, ``dialogue``, ``call``, ``roadmap``, ``tasks``, ``voice``  the systems, stores beside them;
- ``app``       the table of systems, ``/health``, ``/metrics``, ``/faults`` and ``/drop``;
- ``server``    uvicorn: bind, announce, stop.

Nothing here is imported by the harness, and nothing of the harness is imported here: a wrong idea of a
contract cannot hide in shared code.
"""

VERSION = "1.0.0"
"""Version that ``GET /health`` answers with."""
