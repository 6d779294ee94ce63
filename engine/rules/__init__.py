"""Alerting, as far as it only computes: rules, states, silences, what is told to whom. See `model` for the words."""
