"""medssl asks the network for nothing, and neither do the packages that it reads images with."""

from __future__ import annotations

import subprocess
import sys

from medssl.data.phantom.files import write_ct_dataset

WATCHED = """
import socket, sys
asked = []
def refuse(*words, **options):
    asked.append(words[:2])
    raise OSError("there is no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from medssl.cli import main
try:
    main()
finally:
    print(asked)
"""


def test_a_scan_asks_the_network_for_nothing(tmp_path):
    write_ct_dataset(tmp_path / "scans", cases=3)
    words = ["scan", tmp_path / "scans" / "images", "--out", tmp_path / "manifest.csv"]
    done = subprocess.run([sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
