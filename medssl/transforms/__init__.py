"""MONAI dictionary transforms: geometry, intensity, stain and corruption; each draws parameters, then applies them."""
