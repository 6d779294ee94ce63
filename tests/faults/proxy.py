"""A TCP proxy that can lose answers: the command goes through, the reply does not, the connection breaks."""

from __future__ import annotations

import contextlib
import random
import socket
import threading

from tests.support import free_port


class Proxy:
    """Stands between a client and a port on loopback."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self.port = free_port()
        self.cuts = 0
        self.share = 0.0
        """Of the replies to writes, how many are lost."""
        self._target, self._rng = target, rng
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open |= {client, server}
            writes = threading.Event()
            threading.Thread(target=self._commands, args=(client, server, writes), daemon=True).start()
            threading.Thread(target=self._replies, args=(server, client, writes), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket, writes: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"XADD" in data:
                    writes.set()
                server.sendall(data)
        self._part(client, server)

    def _replies(self, server: socket.socket, client: socket.socket, writes: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if writes.is_set() and self._rng.random() < self.share:
                    self.cuts += 1
                    break
                client.sendall(data)
        self._part(server, client)

    def _part(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)

    def close(self) -> None:
        """Ends it, and all connections through it."""
        self._closed = True
        self._listener.close()
        self._part(*list(self._open))
