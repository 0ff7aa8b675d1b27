"""The fine-tuning loop, scoring of cases, and inference on new images."""
