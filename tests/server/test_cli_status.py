"""The command `status`: what it makes of what the processes say of themselves."""

from __future__ import annotations

from typing import Any

from engine.terms import PARTITIONS
from server.cli.status import as_of_the_newest, faults, shown, spans

HALF = PARTITIONS // 2
FIRST, SECOND, ALL = list(range(HALF)), list(range(HALF, PARTITIONS)), list(range(PARTITIONS))


def process(name: str, at: int, dealt: dict[str, list[int]], **more: Any) -> dict[str, Any]:
    """What a process says that has come so far in the log, and knows of this dealing out."""
    counts = dict.fromkeys(("received", "accepted", "events", "duplicate", "rejected"), 0)
    said = {
        "name": name, "role": "engine", "place": "here:1", "offset": f"epoch-{at}", "behind_ms": 1, "flush": 1,
        "owns": False, "partitions": dealt.get(name, []), "dealt": dealt, "ledger": counts | {"balanced": True},
    }  # fmt: skip
    return said | more


def test_partitions_are_those_that_who_has_come_furthest_knows() -> None:
    before, after = {"a": ALL}, {"a": FIRST, "b": SECOND}
    for a, b in ((1, 2), (2, 1)):
        said = [process("a", a, after if a > b else before, owns=True), process("b", b, after if b > a else before)]
        found = as_of_the_newest(said)
        assert [each["partitions"] for each in found] == [FIRST, SECOND]
        assert not faults(found)
        assert "0-31" in shown(found)[2] and "32-63" in shown(found)[3]


def test_what_is_with_one_who_is_gone_is_with_nobody() -> None:
    found = as_of_the_newest([process("a", 1, {"a": FIRST, "gone": SECOND}, owns=True)])
    assert faults(found) == ["32 partitions are with no engine; they are dealt out within seconds"]


def test_what_is_not_well_is_said() -> None:
    assert faults([]) == ["no engine is there, so nothing goes to the store; start `streamgauge engine`"]
    assert as_of_the_newest([]) == [] and shown([]) == ["no gateway and no engine is there"]
    lonely = process("a", 1, {"a": ALL})
    assert faults([lonely])[0].startswith("no engine owns the log")
    slow = process("a", 1, {"a": ALL}, owns=True, behind_ms=7_000, ledger=lonely["ledger"] | {"balanced": False})
    late, wrong = faults([slow])
    assert late == "a is 7 s behind" and wrong.startswith("the ledger of a does not balance")
    assert "and b say that they own the log" in faults([process(name, 1, {"a": ALL}, owns=True) for name in "ab"])[0]


def test_runs_of_numbers() -> None:
    assert (spans([]), spans([3]), spans([0, 1, 2, 5, 7, 8])) == ("", "3", "0-2 5 7-8")
