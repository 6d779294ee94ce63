"""Mergeable summaries: exponential histograms for percentiles, HyperLogLog for distinct values."""
