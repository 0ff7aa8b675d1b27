"""The fine-tuning loop, probes, the scores of test cases, and prediction for new images."""
