"""Queries: the question (value), what has to be read for it (plan), and the answer (execute)."""
