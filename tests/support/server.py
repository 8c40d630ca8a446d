"""An HTTP server on loopback that misbehaves on request."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """Files by path, faults by path, and a record of the requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.url = ""
        self.versions: dict[str, str] = {}


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            site.requests[self.path] += 1
            count, fault = site.requests[self.path], site.faults.get(self.path, "")
            if "Range" in self.headers:
                site.ranges.append(self.headers["Range"])
            if fault == "redirect":
                self.send_response(302)
                self.send_header("Location", "/target" + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = site.files.get(self.path.removeprefix("/target"))
            if data is None or (fault == "503" and count == 1) or fault == "500":
                self.send_error(404 if data is None else int(fault))
                return
            start = 0
            same = self.headers.get("If-Range") in (None, site.versions.get(self.path))
            if "Range" in self.headers and same and fault != "no-range":
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            body = data[start:]
            if self.path in site.versions:
                self.send_header("ETag", site.versions[self.path])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                if fault in ("cut", "no-range") and count == 1:
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    self.connection.close()
                elif fault == "cuts" and len(body) > 90_000:  # a piece a request, until the rest fits into one
                    self.wfile.write(body[:60_000])
                    self.connection.close()
                elif fault == "truncated":
                    self.wfile.write(body[: len(body) // 3])
                    self.connection.close()
                elif fault == "drip":
                    for i in range(len(body)):
                        self.wfile.write(body[i : i + 1])
                        self.wfile.flush()
                        time.sleep(0.02)
                elif fault == "silence":
                    time.sleep(3)
                else:
                    self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client has given up

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(site))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
