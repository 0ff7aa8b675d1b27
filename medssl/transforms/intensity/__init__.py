"""Changes of intensity that keep the geometry: one file per kind, each with a `build`, whose arguments are its schema.

Images are (C,*S) float32 in [0,1], and stay there; all channels of an image share one draw.
"""
