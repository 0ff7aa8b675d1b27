"""What the packages that read and resample images do beside that in a process of its own: no network, no warnings."""

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


def test_resampling_warns_of_nothing(tmp_path):
    write_ct_dataset(tmp_path / "scans", cases=3)
    medssl = [sys.executable, "-m", "medssl.cli"]
    manifest = tmp_path / "manifest.csv"
    subprocess.run([*medssl, "scan", tmp_path / "scans" / "images", "--out", manifest], check=True)
    prepare = [*medssl, "prepare", manifest, "--preset", "ct", "--spacing", "9,9,9", "--out", tmp_path / "cache"]
    assert subprocess.run(prepare, capture_output=True, text=True, check=True).stderr == ""
