"""medssl: self-supervised pretraining for medical images, from a folder of scans to a proven transfer gain."""

__version__ = "0.1.0"
