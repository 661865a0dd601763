"""The server of a study: where it listens, whom it lets in, how it stops."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from typing import Any

from keyface.study.folder import Study
from keyface.study.serving.answer_file import AnswerFile
from keyface.study.serving.handler import Handler, is_loopback

MOST_CONNECTIONS = 256


class StudyServer(ThreadingHTTPServer):
    """Serves one study until it is shut down.

    Args:
        study: The study.
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        token: What a browser must bring; None: nothing, which is for this machine alone.

    Raises:
        OSError: Nothing can listen there.
        ValueError: The study's answers cannot be read.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, study: Study, host: str, port: int, token: str | None) -> None:
        self.study = study
        self.token = token
        self.answers = AnswerFile(study)
        self.local = is_loopback(host)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            self.answers.close()
            raise OSError(
                f"--host {host} --port {port}: nothing can listen there: {error.strerror}"
            ) from error

    @property
    def address(self) -> str:
        """Return what to open in a browser."""
        host, port = self.server_address[:2]
        if str(host) in ("0.0.0.0", "::"):  # all of this machine's addresses
            host = socket.gethostname()
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}/" + (f"?token={self.token}" if self.token else "")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; when too many are at work, the next waits."""
        self._free.acquire()
        self._open.add(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._open.discard(request)
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away."""

    def server_close(self) -> None:
        """Stop listening, read no more, and close the file of answers after what is being written."""
        super().server_close()
        for each in list(self._open):
            with suppress(OSError):  # the browser was faster
                each.shutdown(socket.SHUT_RD)
        self.answers.close()


def new_token() -> str:
    """Return a word that nobody guesses."""
    return secrets.token_urlsafe(24)


@contextmanager
def serving(server: StudyServer) -> Iterator[StudyServer]:
    """Serve until the block ends; answers that are being written are kept."""
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="study", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
