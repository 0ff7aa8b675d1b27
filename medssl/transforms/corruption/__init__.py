"""Corruptions, which restoration has to undo: one file per kind, each with a `build`, whose arguments are its keys.

Lengths are fractions of the image's side along each axis, so that a recipe fits every view size; ranges include both
ends. All channels are corrupted alike. Images may have any values (HU, z-scores), except for corruptions that fill in
noise, which is in [0,1].
"""
