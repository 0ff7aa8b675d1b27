"""Intensity changes: one file per kind, each with a `build`, whose arguments are its keys in a recipe.

Images are (C,*S) float32 in [0,1], and stay there; all channels of an image are changed alike.
"""
