"""Tests; tests/test_river.py is the first thing to read."""
