"""Probes of frozen features: pooled and dense features, linear probes, nearest neighbours, few labels, baselines."""
