"""The receiving end of systemd's notify protocol."""

from __future__ import annotations

import socket
import time


class Manager:
    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._heard: list[str] = []

    def listen(self) -> str:
        """Everything so far, as text."""
        while True:
            try:
                self._heard.append(self._socket.recv(8192).decode())
            except BlockingIOError:
                return "\n".join(self._heard)

    def beats(self) -> int:
        """How many WATCHDOG=1 there were so far."""
        return self.listen().count("WATCHDOG=1")

    def silent_for(self, seconds: float) -> bool:
        """Whether no beat comes from now on for so long. A machine that is busy makes no beats."""
        before = self.beats()
        time.sleep(seconds)
        return self.beats() == before

    def close(self) -> None:
        self._socket.close()
