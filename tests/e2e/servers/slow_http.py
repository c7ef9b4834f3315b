"""An HTTP server that takes its time before the head of an answer, and again before its body.

``slow_http.py HEAD_S BODY_S``; counts: ``begun``, ``answered``.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

counts = {"begun": 0, "answered": 0}
lock = threading.Lock()


def count(what: str) -> None:
    """Add one."""
    with lock:
        counts[what] += 1


class Slow(BaseHTTPRequestHandler):
    """Answers late."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer ``{}``."""
        count("begun")
        time.sleep(float(sys.argv[1]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        time.sleep(float(sys.argv[2]))
        self.wfile.write(b"{}")
        count("answered")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until stdin ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "pid": os.getpid()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
