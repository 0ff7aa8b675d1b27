"""What is kept of the free text of series descriptions."""

from __future__ import annotations

import pytest

from medssl.data.scan.description import safe


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ax T2 FLAIR 5mm", "ax t2 flair 5mm"),
        ("CT THORAX_lung 1.25mm B60f", "ct thorax lung 1.25mm b60f"),
        ("ep2d_diff_b1000", "ep2d b1000"),
        ("Smith^John brain 1975-03-12", "brain"),
        ("MRN 1234567 chest 12:30:05", "chest"),
        ("Müller Knie links, geb. 3.4.1962", ""),
        ("", ""),
    ],
)
def test_protocol_words_and_short_numbers_are_kept(text, kept):
    assert safe(text) == kept
