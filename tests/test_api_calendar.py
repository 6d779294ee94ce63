"""Days, weeks and months asked of a running server: over HTTP and WebSocket, saved, of events, in the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.forks import run_process
from tests.support import COMMAND, ROOT, Streamgauge, position, wait_until

ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
HOURS = 24 * 20
Rows = list[tuple[datetime, float]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    settings = {
        "CHECKPOINT_INTERVAL": "0.5", "LATENESS": "2", "MAX_QUERY_POINTS": "700",
        "RETENTION_1MIN": "90d", "DATA_RETENTION_HOURS": "720", "PLUGINS": "tests.plugins:register",
    }  # fmt: skip
    server = Streamgauge(tmp_path_factory.mktemp("calendar"), settings)
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.fixture(scope="module")
def sent(server: Streamgauge) -> Rows:
    """Twenty days of samples, and as many events, one each 61 minutes: (time, value)."""
    now = datetime.now(UTC).replace(microsecond=0)
    rows = [(now - timedelta(minutes=61 * n), float(n % 7 + 1)) for n in range(HOURS)]
    metrics = [
        {"name": "sold", "metric_type": "counter", "temporality": "delta", "value": value,
         "timestamp": moment.isoformat()}
        for moment, value in rows
    ]  # fmt: skip
    server.call("POST", "/api/metrics", metrics, expect=202)
    events = [
        {"event_type": "sale", "user_id": "u", "properties": {"n": value}, "timestamp": moment.isoformat()}
        for moment, value in rows
    ]
    server.call("POST", "/api/events", events, expect=202)
    return rows


def local(moment: datetime, tz: str, unit: str) -> date:
    """The first day of the step of a moment."""
    day = moment.astimezone(ZoneInfo(tz)).date()
    if unit == "1w":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "1mo" else day


def naive(rows: Rows, tz: str, unit: str) -> dict[date, float]:
    """Sums by the local day, week or month."""
    found: dict[date, float] = {}
    for moment, value in rows:
        day = local(moment, tz, unit)
        found[day] = found.get(day, 0.0) + value
    return found


def by_day(data: list[dict[str, Any]], tz: str, unit: str) -> dict[date, float]:
    days = [local(datetime.fromisoformat(row["time"]), tz, unit) for row in data]
    assert len(set(days)) == len(days)
    return {day: row["value"] for day, row in zip(days, data, strict=True) if row["count"]}


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("unit", ["1d", "1w", "1mo"])
def test_sums_are_those_of_the_local_calendar(server: Streamgauge, sent: Rows, tz: str, unit: str) -> None:
    of_events = {"query_string": "event:sale", "field": "n"}
    for query in ({"query_string": "metric:sold"}, of_events):
        body = {
            **query, "aggregation": "sum", "time_range": "35d", "step": unit, "tz": tz, "at": sent[0][0].isoformat(),
        }  # fmt: skip
        result = server.call("POST", "/api/query", body)
        assert by_day(result["data"], tz, unit) == naive(sent, tz, unit)
        assert (result["step"], result["tz"]) == (unit, tz) and "notes" not in result["metadata"]
        assert [row.get("partial") for row in result["data"]] == [None] * (len(result["data"]) - 1) + [True]
        saved = server.call("POST", "/api/queries", body, expect=201)
        assert saved["tz"] == tz and saved["step"] == unit
        again = server.call("POST", f"/api/queries/{saved['id']}/execute")
        assert again["data"] == result["data"] and again["tz"] == tz
        columns = server.call("POST", "/api/query", body | {"format": "columns"})["columns"]
        times = [int(datetime.fromisoformat(row["time"]).timestamp() * 1000) for row in result["data"]]
        assert columns["times"] == times and columns["partial"] == times[-1:]
        assert columns["series"][0]["values"] == [row["value"] for row in result["data"]]


def last_sunday(month: int) -> date:
    """The newest last Sunday of a month with 31 days that is at least two days ago."""
    today = datetime.now(UTC).date()
    ends = [date(year, month, 31) for year in (today.year, today.year - 1)]
    sundays = [end - timedelta(days=(end.weekday() + 1) % 7) for end in ends]
    return next(each for each in sundays if each < today - timedelta(days=2))


@pytest.mark.parametrize(("month", "hours"), [(3, 23), (10, 25)])
def test_the_days_on_which_the_clocks_change(server: Streamgauge, month: int, hours: int) -> None:
    """Asked while the samples wait for the store, and again when they are in it."""
    sunday, tz = last_sunday(month), ZoneInfo("Europe/Berlin")
    start, end = (datetime.combine(sunday + timedelta(days=n), datetime.min.time(), tz) for n in (-1, 2))
    moments = [start.astimezone(UTC) + timedelta(minutes=10 * n) for n in range(6 * (48 + hours))]
    assert moments[-1] < end <= moments[-1] + timedelta(minutes=10)
    rows = [
        {"name": f"changed{month}", "metric_type": "counter", "temporality": "delta", "value": 6,
         "timestamp": moment.isoformat()}
        for moment in moments
    ]  # fmt: skip
    server.call("POST", "/api/metrics", rows, expect=202)
    asked = {"from_": start.isoformat(), "to": end.isoformat(), "step": "1d", "tz": "Europe/Berlin"}

    def check() -> None:
        sums = server.ask(f"metric:changed{month}", aggregation="sum", **asked)
        assert [row["value"] for row in sums["data"]] == [36 * n for n in (24, hours, 24)]
        assert not any("partial" in row for row in sums["data"]) and "notes" not in sums["metadata"]
        rates = server.ask(f"metric:changed{month}", aggregation="rate", **asked)["data"]
        assert [row["value"] for row in rates] == pytest.approx([0.01] * 3, rel=1e-12)

    check()
    wait_until(lambda: not server.call("GET", "/api/ledger")["in_panes"]["pending"], 40, "a flush")
    check()


def test_registered_aggregations_have_these_steps_too(server: Streamgauge, sent: Rows) -> None:
    tz = "America/New_York"
    data = server.ask("metric:sold", aggregation="value_range", time_range="10d", step="1d", tz=tz)["data"]
    assert len(data) == 10
    for row in data[1:-1]:
        day = local(datetime.fromisoformat(row["time"]), tz, "1d")
        values = [value for moment, value in sent if local(moment, tz, "1d") == day]
        assert (row["value"], row["count"]) == (max(values) - min(values), len(values))


def test_what_is_no_step_of_a_calendar_stays_as_it_is(server: Streamgauge, sent: Rows) -> None:
    for step in ("1h", "24h", "90m"):
        result = server.ask("metric:sold", aggregation="sum", time_range="10d", step=step)
        assert "tz" not in result and not any("partial" in row for row in result["data"])
        columns = server.ask("metric:sold", aggregation="sum", time_range="10d", step=step, format="columns")["columns"]
        assert set(columns) == {"times", "series"}
    day, hours = (server.ask("metric:sold", aggregation="sum", time_range="10d", step=step) for step in ("1d", "24h"))
    assert [row | {"partial": True} for row in hours["data"]][-1] == day["data"][-1]
    assert hours["data"][:-1] == day["data"][:-1]


def test_weeks_may_begin_on_sunday(server: Streamgauge, sent: Rows) -> None:
    for start, weekday in ((None, 0), ("monday", 0), ("sunday", 6)):
        more = {} if start is None else {"week_start": start}
        data = server.ask(
            "metric:sold", aggregation="sum", time_range="35d", step="1w", tz="Asia/Kathmandu", **more
        )["data"]  # fmt: skip
        begins = [datetime.fromisoformat(row["time"]).astimezone(ZoneInfo("Asia/Kathmandu")) for row in data]
        assert {(each.weekday(), each.hour, each.minute) for each in begins} == {(weekday, 0, 0)}
        assert sum(row["value"] for row in data) == sum(value for _, value in sent)


@pytest.mark.parametrize("tz", ["America/New_York", "Asia/Kathmandu", None])
def test_periods(server: Streamgauge, sent: Rows, tz: str | None) -> None:
    zone = {"at": sent[0][0].isoformat()} | ({} if tz is None else {"tz": tz})
    result = server.ask("metric:sold", aggregation="sum", time_range="today", **zone)
    at = datetime.fromisoformat(result["at"])
    today = local(at, tz or "UTC", "1d")
    days = naive(sent, tz or "UTC", "1d")
    assert result["data"][0]["value"] == days.get(today, 0.0)
    assert result["metadata"]["time_range"] == "today" and set(result["data"][0]) == {"value", "count"}
    yesterday = server.ask("metric:sold", aggregation="sum", time_range="yesterday", **zone)
    assert yesterday["data"][0]["value"] == days[today - timedelta(days=1)]
    events = server.ask("event:sale", aggregation="sum", field="n", time_range="yesterday", **zone)
    assert events["data"][0]["value"] == days[today - timedelta(days=1)]
    this, last = (
        server.ask("metric:sold", aggregation="sum", time_range=each, step="1d", **zone)["data"]
        for each in ("this_week", "last_week")
    )
    assert len(last) == 7 and not any("partial" in row for row in last)
    assert len(this) == today.weekday() + 1 and [row for row in this if "partial" in row] == this[-1:]
    assert by_day([*last, *this], tz or "UTC", "1d") == {
        day: value for day, value in days.items() if day >= today - timedelta(days=today.weekday() + 7)
    }
    raw = server.ask("metric:sold", time_range="yesterday", **zone)["data"]
    assert sum(row["value"] for row in raw) == days[today - timedelta(days=1)]
    year = server.ask("metric:sold", aggregation="sum", time_range="this_year", step="1mo", **zone)["data"]
    assert len(year) == today.month


@pytest.mark.parametrize(
    "query",
    [
        {"step": "1d", "time_range": "3d", "tz": "Asia/Kathmandu"},
        {"step": "1w", "time_range": "14d", "tz": "Europe/Berlin", "aggregation": "median", "group_by": ["k"]},
        {"step": "1mo", "time_range": "this_year", "aggregation": "rate"},
        {"step": "1d", "time_range": "this_week", "aggregation": "last"},
        {"time_range": "today", "tz": "Pacific/Auckland"},
    ],
    ids=str,
)
def test_a_live_result_equals_a_query_at_the_same_offset_and_at(server: Streamgauge, query: dict[str, Any]) -> None:
    name = "live" + "".join(filter(str.isalnum, str(query)))
    query = {"query_string": f"metric:{name}", "aggregation": "sum", **query}
    now = datetime.now(UTC)
    with server.listen() as client:
        _, first = client.subscribe(query=query)
        for number in range(3):
            for back in (timedelta(0), timedelta(hours=30 * number), timedelta(days=9)):
                row = {
                    "name": name, "metric_type": "counter", "value": number + 0.1, "tags": {"k": str(number)},
                    "timestamp": (now - back).isoformat(),
                }  # fmt: skip
                newest = server.call("POST", "/api/metrics", row, expect=201)["id"].split("_")[1]
            update = client.until("realtime_update", lambda m: position(m["offset"]) >= position(newest))  # noqa: B023
            answer = server.call("POST", "/api/query", query | {"at": update["at"]})
            assert answer["data"] == update["data"] != first["data"]
            assert update["data"][-1].get("partial", False) == ("step" in query)


def test_old_edges_are_rounded_and_the_answer_says_so(server: Streamgauge, sent: Rows) -> None:
    result = server.ask("metric:sold", aggregation="sum", time_range="150d", step="1d", tz="Asia/Kathmandu")
    [note] = result["metadata"]["notes"]
    assert result["resolution"] == "1h" and "not at midnight in Asia/Kathmandu" in note and "nearest 1h" in note
    assert {row["time"][14:16] for row in result["data"]} == {"00"}
    result = server.ask("metric:sold", aggregation="sum", time_range="500d", step="1mo", tz="Europe/Berlin")
    [note] = result["metadata"]["notes"]
    assert (result["resolution"], result["tz"], result["step"]) == ("1d", "UTC", "1mo") and "days in UTC" in note
    exact = server.ask("metric:sold", aggregation="sum", time_range="300d", step="1mo", tz="Europe/Berlin")
    assert exact["tz"] == "Europe/Berlin" and "notes" not in exact["metadata"]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ({"step": "1d", "tz": "Europe/Berln"}, "bad_query",
         "tz: no such time zone 'Europe/Berln'; IANA names such as Europe/Berlin"),
        ({"step": "1d", "tz": "../../etc/passwd"}, "bad_query", "tz: no such time zone"),
        ({"step": "1d", "tz": "posixrules"}, "bad_query", "IANA names such as Europe/Berlin"),
        ({"step": "1d", "tz": "Europe"}, "bad_query", "tz: no such time zone 'Europe'"),
        ({"step": "1d", "tz": ""}, "bad_query", "tz: no such time zone ''"),
        ({"step": "1d", "tz": "x" * 65}, "bad_query", "tz: "),
        ({"step": "1d", "tz": 5}, "bad_query", "tz: "),
        ({"step": "1h", "tz": "Europe/Berlin"}, "bad_query", "tz: it belongs to a step of d, w or mo"),
        ({"tz": "Europe/Berln"}, "bad_query", "tz: no such time zone"),
        ({"step": "1d", "week_start": "monday"}, "bad_query", "week_start: it belongs to a step of weeks"),
        ({"step": "1w", "week_start": "friday"}, "bad_query", "week_start: Input should be 'monday' or 'sunday'"),
        ({"step": "1M"}, "bad_time_range", "months are written mo"),
        ({"step": "0mo"}, "bad_time_range", "step '0mo' holds nothing"),
        ({"step": "121mo"}, "bad_time_range", "longer than ten years"),
        ({"step": "1fortnight"}, "bad_time_range", "1d, 1w, 1mo"),
        ({"time_range": "tomorrow"}, "bad_time_range", "or one of today, yesterday"),
        ({"time_range": "today", "from": 0}, "bad_time_range", "either time_range or from and to"),
    ],
    ids=str,
)  # fmt: skip
def test_errors_name_the_member_and_what_would_do(
    server: Streamgauge, more: dict[str, Any], code: str, said: str
) -> None:
    body = {"query_string": "metric:sold", "aggregation": "sum", **more}
    for path in ("/api/query", "/api/queries"):
        detail = server.call("POST", path, body, expect=400)["detail"]
        assert detail["code"] == code and said in detail["message"], detail
    with server.listen("clumsy", "?firehose=0") as client:
        error = client.answer(type="subscribe", query=body)
        assert (error["type"], error["code"]) == ("error", code) and said in error["message"]


def test_too_many_points_say_what_fits(server: Streamgauge, sent: Rows) -> None:
    body = {"query_string": "metric:sold", "aggregation": "sum", "tz": "Europe/Berlin", "from": "2020-01-01T00:00Z"}
    detail = server.call("POST", "/api/query", body | {"step": "1d"}, expect=422)["detail"]
    wider = detail["message"].split("a step of ")[1].split(" ")[0]
    assert detail["code"] == "query_too_expensive" and wider.endswith("d")
    assert server.call("POST", "/api/query", body | {"step": wider})["step"] == wider


def test_in_the_terminal(server: Streamgauge, sent: Rows) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "query", "sold", "-a", "sum", *arguments]
        return run_process(command, os.environ | {"STREAMGAUGE_URL": server.url})

    tz = "Asia/Kathmandu"
    by_zone = ["--tz", tz, "-r", "10d"]
    rows = list(csv.DictReader(io.StringIO(run(*by_zone, "-s", "1d", "--format", "csv").stdout)))
    days = naive(sent, tz, "1d")
    assert {local(datetime.fromisoformat(row["time"]), tz, "1d"): float(row["value"]) for row in rows}.items() <= (
        days | {local(datetime.now(UTC), tz, "1d"): days.get(local(datetime.now(UTC), tz, "1d"), 0.0)}
    ).items()
    assert len(rows) == 10 and [row["partial"] for row in rows] == [""] * 9 + ["partial"]
    table = run(*by_zone, "-s", "1w", "--week-start", "sunday", "--format", "table")
    times = [line.split()[:2] for line in table.stdout.splitlines()[2:]]
    assert all(clock == "00:00:00" and date.fromisoformat(day).weekday() == 6 for day, clock in times) and times
    assert "step 1w in Asia/Kathmandu" in table.stderr
    drawn = run("-r", "this_month", "--tz", tz, "-s", "1d")
    assert "█" in drawn.stdout and "the last step is not over" in drawn.stderr
    refused = run("-s", "1d", "--tz", "Europe/Berln")
    assert refused.returncode == 2 and "no such time zone" in refused.stderr
    answer = json.loads(run("-r", "last_month", "--format", "json").stdout)
    assert datetime.fromisoformat(answer["from"]).day == datetime.fromisoformat(answer["to"]).day == 1


def test_zones_without_those_of_the_system(tmp_path: Any) -> None:
    """Where the system has no database, that of the package serves."""
    code = "from server import zones; print(zones.find('Asia/Kathmandu').key, len(zones.names()) > 400)"
    environment = os.environ | {"PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["Asia/Kathmandu", "True"], done.stderr
