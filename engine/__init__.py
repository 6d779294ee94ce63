"""The engine computes and never touches the world: no clock, no files, no sockets, no randomness."""
