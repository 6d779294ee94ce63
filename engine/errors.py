"""What the engine refuses, and why.

EngineError
├── BadQuery        the question cannot be understood; the message says where
│   └── BadTimeRange    its range or step can hold nothing
├── TooExpensive    the question is beyond a limit; the message says what would fit
├── OutOfReach      raw values are wanted further back than they are kept; says the range that fits
└── BadCheckpoint   stored state that is damaged or of an unknown version
"""

from __future__ import annotations


class EngineError(Exception):
    """Anything the engine refuses."""

    code = "engine_error"


class BadQuery(EngineError):
    code = "bad_query"


class BadTimeRange(BadQuery):
    code = "bad_time_range"


class TooExpensive(EngineError):
    code = "query_too_expensive"


class OutOfReach(EngineError):
    code = "out_of_reach"


class BadCheckpoint(EngineError):
    code = "bad_checkpoint"
