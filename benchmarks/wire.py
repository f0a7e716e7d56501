"""A network between clients and a PostgreSQL server that can stop delivering: it neither answers nor closes then, as a black hole."""

from __future__ import annotations

import socket
import threading
import weakref
from contextlib import suppress
from pathlib import Path


class Wire:
    """Passes bytes between a port of this machine and a server's socket file, until it is ``cut``."""

    def __init__(self, socket_file: Path) -> None:
        self.to, self.cut = socket_file, threading.Event()
        self.entrance = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.open = weakref.WeakSet([self.entrance])
        threading.Thread(target=self._enter, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.entrance.getsockname()[1])

    def _enter(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self.entrance.accept()[0], socket.socket(socket.AF_UNIX)
                self.open.update((near, far))
                try:
                    far.connect(str(self.to))
                except OSError:  # the server is down
                    near.close()
                    far.close()
                    continue
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if not self.cut.is_set():
                    other.sendall(data)
        if not self.cut.is_set():
            with suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)
        one.close()

    def close(self) -> None:
        for each in list(self.open):
            each.close()
