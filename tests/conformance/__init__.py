"""One suite per protocol, run over every back-end."""
