"""The Python client that the documentation of issue S4 shows, run as it stands against port 8000, which it names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Streamgauge

CLIENT = ROOT / "tests" / "golden" / "seed_client.py"
"""Verbatim; not to be tidied up."""
PORT = 8000
INSIDE = "SEED_CLIENT_HAS_ITS_OWN_NETWORK"
OWN_NETWORK = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def test_the_python_client_runs_unmodified(tmp_path: Path) -> None:
    if not is_free(PORT):
        if INSIDE in os.environ or not can_have_own_network():
            pytest.skip(f"port {PORT} is taken, and a network of its own (unshare --net) is not to be had here")
        again = [*OWN_NETWORK, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(again, cwd=ROOT, env=os.environ | {INSIDE: "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:]
        assert "1 passed" in done.stdout
        return

    server = Streamgauge(tmp_path, port=PORT)
    server.start()
    try:
        done = subprocess.run(
            [sys.executable, "-u", str(CLIENT)], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        printed = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert [line for line in printed if line.startswith("Created metric")] == [
            f"Created metric {number + 1}" for number in range(100)
        ]
        assert printed[printed.index("Query Results:") + 1] == "/api/users: 5050"
        assert any(line.startswith("Created alert: alert_") for line in printed)
        assert "WebSocket connected" in printed
        assert "Received: new_metric" in printed
        assert printed.count("Received: realtime_update") >= 10  # one per metric it goes on to send, and the first

        # What it left behind: 110 samples, a query, and an alert.
        ledger = server.call("GET", "/api/ledger")
        assert (ledger["received"], ledger["accepted"], ledger["rejected"]) == (110, 110, {})
        [alert] = server.call("GET", "/api/alerts?enabled_only=true")
        assert (alert["name"], alert["threshold"], alert["enabled"]) == ("High Request Rate Alert", 50, True)
    finally:
        server.kill()


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def can_have_own_network() -> bool:
    """Whether this machine lets us have a network namespace."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*OWN_NETWORK, "true"], capture_output=True).returncode == 0
