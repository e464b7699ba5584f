"""Benchmarks: each script prints a table of ratios against something measured in the same run."""
