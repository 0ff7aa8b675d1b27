"""Corruptions, to be undone by restoration: one file per kind, each with a `build`, whose arguments are its schema.

Lengths are parts of the image's side along each axis, so that a recipe fits every view size; both ends of a range can
be drawn. All channels are corrupted alike. Images may have any values (HU, z-scores), but where noise is filled in,
which is in [0,1].
"""
