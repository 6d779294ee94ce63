"""The fault campaign: real servers that are killed, starved and confused under load, and recounted afterwards.

Traffic is drawn from a seed (`traffic`), sent over several connections (`senders`), and remembered row by row
(`account`), which says what every answer must be. `campaign` kills; the test files bring the other faults. A short run
is part of the tests; `python -m tests.faults` (`make faults`) is the long one: the same code with larger numbers.
"""
