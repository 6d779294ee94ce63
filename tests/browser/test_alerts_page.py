"""Alerts on the page: made by a click or by the keyboard, live when they fire and end, and names that are only text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.api_support import ago
from tests.browser.conftest import Console
from tests.browser.test_access import CLEAN, in_both_themes, tab_to
from tests.browser.test_page import figure, panel, send
from tests.notify_support import HttpSink
from tests.support import Streamgauge, free_port, wait_until

HOSTILE = "<img src=x onerror=alert(1)>"
TOO_WIDE = """[...document.querySelectorAll('main *')]
    .filter(each => each.getBoundingClientRect().right > innerWidth && !each.closest('.wide'))
    .map(each => each.outerHTML.slice(0, 120))"""
"""What reaches beyond the screen, except in tables that scroll."""
TEMPLATE = {"hot": {"condition": "metric:temperature > 100", "severity": "critical", "message": "{value} is too hot"}}


@pytest.fixture(scope="module")
def sink() -> Iterator[HttpSink]:
    """Where messages of the channel `webhook` arrive."""
    with HttpSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sink: HttpSink) -> Iterator[Streamgauge]:
    """A server with one channel that works, without alerts at first; each test has metrics of its own."""
    port = free_port()
    settings = {
        "ALERT_WEBHOOK_URL": sink.url, "ALERT_WEBHOOK_SECRET": "a secret for tests", "ALERT_NETWORKS": "127.0.0.0/8",
        "PUBLIC_URL": f"http://127.0.0.1:{port}", "DRAIN_SECONDS": "0",
    }  # fmt: skip
    server = Streamgauge(tmp_path_factory.mktemp("alerts"), settings, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def _nothing_is_left(server: Streamgauge) -> Iterator[None]:
    yield
    for alert in server.call("GET", "/api/alerts"):
        server.call("DELETE", f"/api/alerts/{alert['id']}")


def post(server: Streamgauge, name: str, value: float, **more: Any) -> None:
    send(server, "/api/metrics", {"name": name, "metric_type": "gauge", "value": value, **more})


def post_until(server: Streamgauge, seen: Locator, name: str, value: float, **more: Any) -> None:
    """Posts a value once a second until the page shows what follows from it: a rule looks at what comes after it."""
    for _ in range(20):
        post(server, name, value, **more)
        try:
            return expect(seen).to_be_visible(timeout=1_000)
        except AssertionError:
            continue
    pytest.fail(f"{name} = {value} does not lead to {seen}")


def make(server: Streamgauge, **members: Any) -> str:
    return str(server.call("POST", "/api/alerts", members, expect=201)["id"])


def card(page: Page, name: str) -> Locator:
    return page.locator("article.incident").filter(has=page.get_by_role("heading", name=name, exact=True))


def rule(page: Page, name: str) -> Locator:
    return page.locator(".rule").filter(has=page.get_by_role("link", name=name, exact=True))


def test_from_a_template_to_resolved_without_a_reload(
    server: Streamgauge, sink: HttpSink, page: Page, console: Console
) -> None:
    server.call("POST", "/api/alerts/templates/load", {"alert_templates": TEMPLATE}, expect=201)
    page.goto(f"{server.url}/?view=alerts")
    expect(page.locator(".curl code")).to_contain_text(f"curl {server.url}/api/alerts")
    names = page.locator(".templates strong")
    expect(names).to_have_text(["error rate", "slow requests", "database errors", "rate limit hits", "hot"])
    assert in_both_themes(page) == CLEAN
    page.evaluate("window.untouched = true")

    page.get_by_role("button", name="Use hot").click()
    expect(page.get_by_role("heading", name="Hot", exact=True)).to_be_visible()
    expect(page.locator(".opened")).to_contain_text("each value of temperature > 100")
    expect(page.locator(".opened")).to_contain_text("Tells webhook.")
    page.get_by_role("button", name="All alerts").click()
    expect(page.get_by_text("Nothing fires.")).to_be_visible()
    expect(page.locator(".firing-badge")).to_have_count(0)

    incident = card(page, "Hot")
    post_until(server, incident, "temperature", 150)
    expect(page.locator(".firing-badge")).to_have_text("1 firing")
    expect(page).to_have_title("(1) Streamgauge")
    expect(page.get_by_role("status").filter(has_text="Hot fires.")).to_have_count(1)
    expect(incident).to_contain_text("critical")
    expect(incident).to_contain_text("150 > 100")
    expect(incident.locator(".deliveries")).to_contain_text("webhook told", timeout=30_000)
    expect(rule(page, "Hot").locator(".state")).to_have_text("firing")
    assert sink.wait(1)[0].body["text"] == "150 is too hot"

    incident.get_by_role("button", name="Acknowledge Hot").click()
    expect(incident).to_contain_text("Acknowledged by somebody.")
    incident.get_by_role("button", name="Snooze Hot for 8 h").click()
    expect(incident).to_contain_text("Snoozed until")
    incident.get_by_role("button", name="End the snooze of Hot").click()
    expect(incident).not_to_contain_text("Snoozed until")
    assert in_both_themes(page) == CLEAN

    incident.get_by_role("button", name="Silence these alerts of Hot").click()
    dialog = page.get_by_role("dialog", name="Silence Hot")
    expect(dialog.get_by_label("Why")).to_be_focused()
    dialog.get_by_role("button", name="Silence", exact=True).click()
    expect(dialog.get_by_label("Why")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Why").fill(HOSTILE)
    dialog.get_by_label("Your name").fill("ada")
    assert in_both_themes(page) == CLEAN
    dialog.get_by_role("button", name="Silence", exact=True).click()
    expect(dialog).to_be_hidden()
    silences = page.locator(".silences > li")
    expect(silences).to_contain_text([f"{HOSTILE} · ada"])
    [silence] = server.call("GET", "/api/silences")
    [alert] = server.call("GET", "/api/alerts")
    assert silence["matchers"] == f'{{alert_id="{alert["id"]}"}}'
    page.get_by_role("button", name="End this silence").click()
    page.get_by_role("button", name="Really end").click()
    expect(page.get_by_text("The silence has ended.")).to_be_visible()

    post_until(server, page.get_by_text("Nothing fires."), "temperature", 20)
    expect(page.locator(".firing-badge")).to_have_count(0)
    expect(page).to_have_title("Streamgauge")
    expect(rule(page, "Hot").locator(".state")).to_have_text("inactive")
    rule(page, "Hot").get_by_role("link").click()
    episode = page.get_by_role("row").filter(has_text="recovered")
    expect(episode).to_contain_text("150")
    expect(episode).to_contain_text("20")
    expect(page.locator(".messages li").first).to_contain_text(re.compile("webhook .*sent"))
    assert in_both_themes(page) == CLEAN
    assert page.evaluate("window.untouched")
    assert console.errors == []


def test_by_the_keyboard_alone(server: Streamgauge, page: Page, console: Console) -> None:
    make(server, name="Already there", metric_name="pressure", threshold=1_000)
    for value in (3, 9, 4):
        post(server, "pressure", value, tags={"site": "north"}, unit="bar", timestamp=time.time() - 60)
    page.goto(server.url)
    expect(panel(page, "pressure")).to_be_visible()
    page.keyboard.press("4")
    expect(page.get_by_role("link", name="Alerts")).to_have_attribute("aria-current", "page")
    tab_to(page, page.get_by_role("button", name="New alert"))
    page.keyboard.press("Enter")

    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.type("Too much")
    page.keyboard.press("Tab")
    page.keyboard.type("pressure")
    tab_to(page, page.get_by_role("button", name="site", exact=True))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_label("Threshold"))
    page.keyboard.type("8")
    preview = page.locator(".preview")
    expect(preview).to_contain_text("It would have fired 1 time")
    expect(preview.get_by_role("row").filter(has_text="north")).to_contain_text("9 bar")
    expect(preview.locator("figure")).to_have_attribute("aria-label", re.compile("each value of pressure > 8 bar"))
    assert in_both_themes(page) == CLEAN

    page.keyboard.press("Escape")  # out of the field, then out of the form; what was typed stays
    page.keyboard.press("Escape")
    expect(page.get_by_text("Nothing fires.")).to_be_visible()
    page.reload()
    tab_to(page, page.get_by_role("button", name="New alert"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Threshold")).to_have_value("8")
    tab_to(page, page.get_by_label("Threshold"))
    page.keyboard.press("Enter")
    expect(page.locator(".opened .condition")).to_have_text("each value of pressure > 8 bar, by site")
    [kept] = [alert for alert in server.call("GET", "/api/alerts") if alert["name"] == "Too much"]
    assert (kept["threshold"], kept["group_by"], kept["metric_name"]) == (8, ["site"], "pressure")

    page.keyboard.press("Escape")
    switch = page.get_by_role("switch", name="Switch Too much on")
    tab_to(page, switch)
    page.keyboard.press("Space")
    expect(rule(page, "Too much").locator(".state")).to_have_text("disabled")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Really delete")).to_be_focused()
    page.keyboard.press("Escape")
    tab_to(page, page.get_by_role("button", name="Delete Too much"))
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(rule(page, "Too much")).to_have_count(0)
    expect(page.locator("#rules-title")).to_be_focused()
    assert [alert["name"] for alert in server.call("GET", "/api/alerts")] == ["Already there"]
    assert console.errors == []


def test_an_alert_from_a_panel(server: Streamgauge, page: Page, console: Console) -> None:
    for at in range(120, 0, -10):
        for host, load in (("web-1", 20), ("web-2", 60)):
            post(server, "load", load, tags={"host": host}, unit="%", timestamp=time.time() - at)
    page.goto(f"{server.url}/?by=host@metric:load")
    expect(panel(page, "load").locator(".legend")).to_contain_text("web-2")
    panel(page, "load").focus()
    page.keyboard.press("a")
    expect(page.get_by_label("Metric", exact=True)).to_have_value("load")
    expect(page.get_by_label("Of its values")).to_have_value("average")
    expect(page.get_by_role("button", name="host", exact=True)).to_have_attribute("aria-pressed", "true")
    # Its values are drawn before there is a threshold to try.
    expect(page.locator(".lines-named")).to_have_text("web-1web-2")
    page.go_back()
    expect(panel(page, "load")).to_be_visible()
    panel(page, "load").get_by_role("button", name="Alert about load").click()

    page.get_by_label("Name", exact=True).fill("Load")
    page.get_by_label("Threshold").fill("50")
    page.get_by_label("Over", exact=True).fill("40d")
    page.get_by_role("checkbox", name=re.compile("^webhook")).check()
    page.get_by_role("button", name="Create alert").click()
    window = page.get_by_label("Over", exact=True)
    expect(window).to_be_focused()  # where the server says that it is wrong
    expect(window).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".field.wrong .fault")).to_have_text("it is longer than 31d.")
    window.fill("5m")
    page.get_by_role("textbox", name="Message").focus()
    page.get_by_role("button", name="{labels.host}").click()
    page.keyboard.type(" is busy")
    page.get_by_label("Another one").fill("slack:#ops")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="slack:#ops")).to_be_checked()
    page.get_by_role("button", name="Create alert").click()
    expect(page.locator(".opened .condition")).to_have_text("average of load over 5m > 50 %, by host")
    [kept] = server.call("GET", "/api/alerts")
    assert (kept["message"], kept["notification_channels"]) == ("{labels.host} is busy", ["webhook", "slack:#ops"])
    groups = page.get_by_role("region", name="Groups").get_by_role("row")
    expect(groups.filter(has_text="web-2")).to_contain_text("critical")
    expect(groups.filter(has_text="web-1")).to_contain_text("ok")
    expect(page.locator("article.incident")).to_contain_text("1 of 2")

    # The chart of its metric says so, too.
    page.keyboard.press("1")
    expect(figure(page, "load")).to_have_attribute("aria-label", re.compile("The alert Load fires."))
    assert [e for e in console.errors if "400" not in e] == []  # the refusal, which a browser writes down


def test_links_of_messages_open_the_exact_view(server: Streamgauge, sink: HttpSink, page: Page) -> None:
    make(server, name="Odd", metric_name="odd & {name}", aggregation="max", window="1m", group_by=["host"],
         threshold=5, notification_channels=["webhook"])  # fmt: skip
    post(server, "odd & {name}", 7, tags={"host": "web-1"})
    wait_until(lambda: "Odd" in [each.body["rule"] for each in sink.taken], 30, "a message")
    [link, *_] = [each.body["link"] for each in sink.taken if each.body["rule"] == "Odd"]
    assert link.startswith(server.url)
    page.goto(link)
    expect(panel(page, "odd & {name}")).to_have_class(re.compile("large"))
    expect(page.get_by_label("Group odd & {name} by")).to_have_value("host")
    expect(page.locator(".mode")).to_contain_text("Historical")
    assert "from=" in page.url and "to=" in page.url
    # The page's own links lead to the same place.
    page.goto(f"{server.url}/?view=alerts")
    card(page, "Odd").get_by_role("link", name="Chart of Odd").click()
    expect(panel(page, "odd & {name}")).to_have_class(re.compile("large"))
    expect(page.get_by_label("Group odd & {name} by")).to_have_value("host")


def test_channels_say_whether_they_work(server: Streamgauge, sink: HttpSink, page: Page) -> None:
    make(server, name="One", metric_name="none", threshold=1)
    page.goto(f"{server.url}/?view=alerts")
    expect(page.get_by_role("button", name="Test webhook")).to_be_visible()
    slack, _, webhook = page.get_by_role("region", name="Channels").locator("li").all()
    expect(slack).to_contain_text("not configured: set SLACK_BOT_TOKEN")
    slack.get_by_role("button", name="Test slack").click()
    expect(slack.get_by_role("status")).to_contain_text("Slack is not configured")
    webhook.get_by_role("button", name="Test webhook").click()
    expect(webhook.get_by_role("status")).to_have_text("The far side has taken the message.")
    assert [each.body["kind"] for each in sink.taken].count("test") == 1


def test_names_are_only_text(server: Streamgauge, page: Page, console: Console) -> None:
    names = {"name": HOSTILE, "metric_name": HOSTILE, "aggregation": "max", "window": "1m", "group_by": ["<b>"]}
    alert = make(server, **names, threshold=1, message=HOSTILE, notification_channels=["email"])
    post(server, HOSTILE, 5, tags={"<b>": HOSTILE * 20}, unit="<u>")
    page.goto(f"{server.url}/?view=alerts")
    expect(card(page, HOSTILE)).to_contain_text("5 <u> > 1 <u>")
    expect(card(page, HOSTILE).locator(".which")).to_contain_text(HOSTILE)
    for part in (f"&alert={alert}", f"&alert={alert}/edit"):
        page.goto(f"{server.url}/?view=alerts{part}")
        expect(page.locator("main h2").first).to_contain_text(HOSTILE)
        expect(page.get_by_role("row").filter(has_text=HOSTILE).first).to_be_visible()
        assert page.locator("main img, main b, main u, main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 360, "height": 800})
    parts = {"": ".which", f"&alert={alert}": ".messages li", f"&alert={alert}/edit": ".preview table"}
    for part, last in parts.items():
        page.goto(f"{server.url}/?view=alerts{part}")
        expect(page.locator(last).first).to_be_visible()
        assert page.evaluate(TOO_WIDE) == [], part
    assert console.errors == []


def test_a_colleagues_change_is_not_overwritten(server: Streamgauge, page: Page) -> None:
    alert = make(server, name="Shared", metric_name="shared", threshold=1, labels={"team": "shop"})
    page.goto(f"{server.url}/?view=alerts&alert={alert}/edit")
    expect(page.get_by_label("Threshold")).to_have_value("1")
    server.call("PATCH", f"/api/alerts/{alert}", {"threshold": 2})
    page.get_by_label("Name", exact=True).fill("Mine")
    page.reload()  # what was typed rests on what was read before it
    expect(page.get_by_label("Name", exact=True)).to_have_value("Mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("somebody has changed this alert", ignore_case=True)
    page.get_by_role("button", name="Take theirs").click()
    expect(page.get_by_label("Threshold")).to_have_value("2")
    page.get_by_label("Name", exact=True).fill("Ours")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Ours")).to_be_visible()
    kept = server.call("GET", f"/api/alerts/{alert}")
    assert (kept["name"], kept["threshold"], kept["labels"]) == ("Ours", 2, {"team": "shop"})


def test_a_lost_server_is_said_and_refreshed(server: Streamgauge, page: Page) -> None:
    make(server, name="Later", metric_name="later", threshold=1)
    page.goto(f"{server.url}/?view=alerts")
    expect(rule(page, "Later")).to_be_visible()
    server.kill()
    expect(page.locator(".trouble")).to_be_visible()
    expect(rule(page, "Later")).to_be_visible()  # what was known stays
    server.start()
    expect(page.locator(".trouble")).to_have_count(0)
    post_until(server, card(page, "Later"), "later", 5)
    page.goto(f"{server.url}/?view=alerts&alert=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")


def test_what_is_unusual_is_ranked(server: Streamgauge, page: Page, console: Console) -> None:
    minute = int(time.time() * 1000) // 60_000 * 60_000
    rows = [
        {
            "name": "pulse", "metric_type": "gauge", "value": 60 + n % 7, "timestamp": minute - n * 60_000,
            "tags": {"of": who},
        }
        for n in range(1, 200) for who in ("ann", HOSTILE)
    ]  # fmt: skip
    send(server, "/api/metrics", rows)
    make(server, name="Odd pulse", metric_name="pulse", alert_type="anomaly", group_by=["of"])
    wait_until(lambda: len(server.call("GET", "/api/anomalies")) == 2, 30, "a ranking")
    page.goto(f"{server.url}/?view=alerts")
    listed = page.get_by_role("region", name="Unusual now").get_by_role("listitem")
    expect(listed).to_have_count(2)
    expect(listed.filter(has_text=HOSTILE)).to_contain_text("would be usual")
    assert console.errors == []


def test_a_chart_shows_when_its_metric_was_unusual(server: Streamgauge, page: Page, console: Console) -> None:
    minute = int(time.time() * 1000) // 60_000 * 60_000
    rows = [
        {"name": "gait", "metric_type": "gauge", "value": n % 7, "timestamp": minute - n * 60_000} for n in range(60)
    ]
    send(server, "/api/metrics", rows)
    make(server, name="Odd gait", metric_name="gait", alert_type="anomaly", window="1m")
    wait_until(lambda: len(server.call("GET", "/api/anomalies")) == 1, 30, "a ranking")

    def with_an_episode(route: Route) -> None:
        answer = route.fetch()
        (found,) = answer.json()
        # The data has no history in which something could be unusual: only the episode is added.
        episode = {"from": ago(minutes=20), "to": None, "peak": 9.0}
        route.fulfill(response=answer, json=[{**found, "episodes": [episode]}])

    page.route("**/api/anomalies?*", with_an_episode)
    page.goto(f"{server.url}/?range=1h")
    expect(figure(page, "gait")).to_have_attribute("aria-label", re.compile("It is unusual now."))
    purple = "data[i] > data[i + 1] + 30 && data[i + 2] > data[i + 1] + 30"
    canvas = panel(page, "gait").locator("canvas")
    wide = canvas.evaluate(
        f"""canvas => {{
            const {{ data, width }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const columns = new Set();
            for (let i = 0; i < data.length; i += 4) if ({purple}) columns.add(i / 4 % width);
            return columns.size / width;
        }}"""
    )
    assert 0.25 < wide < 0.35
    assert console.errors == []
