"""The images and the wheel. What Docker itself would do is checked by reading; what they rest on is run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.api.status import VERSION
from server.config import Settings
from server.store import dynamodb_place
from tests.image_support import Ignore, Step, context, copies, environment, lay_out, read_dockerfile
from tests.support import ROOT, RedisServer, Streamgauge, free_port

KEYS = "ingest+read:a-key-for-tests,admin:another-for-tests"
BEARER = {"Authorization": "Bearer a-key-for-tests"}


@pytest.fixture(scope="module")
def stages() -> list[list[Step]]:
    return read_dockerfile()


@pytest.fixture(scope="module")
def ignore() -> Ignore:
    return Ignore((ROOT / ".dockerignore").read_text())


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def only(stage: list[Step], name: str) -> Step:
    """The one instruction of that name."""
    found = [step for step in stage if step.name == name]
    assert len(found) == 1, f"{len(found)} {name}"
    return found[0]


# --- Dockerfile


def test_images_are_pinned_and_the_last_stage_holds_no_build_tools(stages: list[list[Step]]) -> None:
    images = [stage[0].rest.split()[0] for stage in stages]
    assert all(re.fullmatch(r"[a-z/]+:\d[\w.-]*", image) for image in images), images
    assert len(stages) == 3 and images[-1].endswith("-slim")
    assert [origin for origin, _, _ in copies(stages[-1])] == ["install"], "all it gets is what was installed"
    assert not any(re.search(r"\b(apt-get|pip|npm|curl|wget)\b", step.rest) for step in stages[-1])


def test_the_container_is_not_root_and_owns_its_volume(stages: list[list[Step]]) -> None:
    last = stages[-1]
    user = only(last, "USER").rest
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"{user}: a number, so that it is known not to be root"
    uid, _, gid = user.partition(":")
    folder = environment(last)["DATA_DIR"]
    assert only(last, "VOLUME").rest == only(last, "WORKDIR").rest == folder
    made = only(last, "RUN").rest
    assert f"--uid {uid} " in made and f"-o {uid} -g {gid} " in made and made.endswith(f" {folder}")
    names = [step.name for step in last]
    assert names.index("RUN") < names.index("USER") < names.index("ENTRYPOINT")


def test_signals_reach_the_server_and_ports_agree(stages: list[list[Step]]) -> None:
    last = stages[-1]
    assert only(last, "ENTRYPOINT").array() == ["streamgauge"] and only(last, "CMD").array() == ["serve"]
    assert only(last, "EXPOSE").rest == environment(last)["PORT"]
    assert not any(re.search(r"API_KEYS|AUTH=", step.rest) for step in last), "no key is baked in, nor left out"


def test_the_image_does_not_start_without_keys(stages: list[list[Step]], tmp_path: Path) -> None:
    settings = {**environment(stages[-1]), "PORT": str(free_port()), "DATA_DIR": str(tmp_path / "data")}
    assert settings["HOST"] == "0.0.0.0"
    known = {name: value for name, value in settings.items() if name.lower() in Settings.model_fields}
    server = Streamgauge(tmp_path, known)
    done = subprocess.run(
        server.command(), cwd=tmp_path, env=server.environment() | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "API_KEYS" in done.stderr and "0.0.0.0" in done.stderr, done
    assert not (tmp_path / "data").exists()


def health(stages: list[list[Step]], python: str, names: Mapping[str, str]) -> int:
    """The exit code of the image's health check."""
    command = only(stages[-1], "HEALTHCHECK").array()
    assert command and command[0] == "python"
    command[0] = python
    return subprocess.run(command, env=dict(names), capture_output=True, timeout=20, check=False).returncode


def test_the_health_check_tells_a_live_server_from_none(stages: list[list[Step]], api_server: Streamgauge) -> None:
    live, none = str(api_server.port), str(free_port())
    proxy = {"http_proxy": f"http://127.0.0.1:{none}"}
    assert health(stages, sys.executable, {"PORT": live, **proxy}) == 0
    assert health(stages, sys.executable, {"STREAMGAUGE_PORT": live, "PORT": none}) == 0
    assert health(stages, sys.executable, {"PORT": none}) == 1


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        *[(path, True) for path in ("pyproject.toml", "server/app.py", "engine/query/plan.py", "web/.npmrc")],
        *[(path, False) for path in (".git/HEAD", ".env", "web/.env.local", "data/log/1", ".venv/bin/python")],
        *[(path, False) for path in ("web/node_modules/a/b.js", "web/dist/index.html", "tests/support.py")],
        *[(path, False) for path in ("server/__pycache__/app.pyc", "server/page/index.html", "build/lib/a.py")],
    ],
)
def test_the_build_sees_the_sources_and_nothing_else(ignore: Ignore, path: str, kept: bool) -> None:
    assert ignore.keeps(path) is kept


def test_everything_that_is_copied_is_there(stages: list[list[Step]], ignore: Ignore) -> None:
    for stage in stages:
        for origin, sources, _ in copies(stage):
            for source in sources if origin is None else ():
                assert context(ignore, source.rstrip("/")), f"COPY {source} finds nothing"


# --- compose.yaml


def test_compose_asks_for_keys_and_keeps_data(compose: dict[str, Any], stages: list[list[Step]]) -> None:
    server = compose["services"]["server"]
    demand = server["environment"]["API_KEYS"]
    assert demand.startswith("${API_KEYS:?") and demand.endswith("}") and "}" not in demand[:-1]
    assert "AUTH" not in server["environment"] and "HOST" not in server["environment"]
    assert server["ports"] == [f"${{BIND:-127.0.0.1}}:${{PORT:-8000}}:{environment(stages[-1])['PORT']}"]
    mounts = [each.partition(":") for service in compose["services"].values() for each in service.get("volumes", ())]
    assert {volume for volume, _, _ in mounts} == compose["volumes"].keys()
    assert environment(stages[-1])["DATA_DIR"] in [place for _, _, place in mounts]
    assert server["read_only"] and server["cap_drop"] == ["ALL"]


def test_compose_gives_settings_that_exist(compose: dict[str, Any]) -> None:
    names = compose["services"]["server"]["environment"]
    assert {name.lower() for name in names} <= Settings.model_fields.keys()
    given = {name.lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in names.items()}
    settings = Settings(_env_file=None, **{**given, "api_keys": KEYS})
    assert settings.redis_url == "redis://redis:6379/0" and "redis" in compose["services"]
    slowest = settings.drain_seconds + 5  # uvicorn's own time after the drain
    for name in ("server", "redis"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > 2 * slowest


OURS = ("server", "gateway", "engine")


def test_compose_pins_images_and_publishes_the_server_or_the_balancer_only(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/-]+:\d[\w.-]*", service["image"]), service["image"]
        assert (name in ("server", "balancer")) is ("ports" in service)
        assert name in (*OURS, "balancer") or service["healthcheck"]["test"][0] == "CMD"
    for name in OURS:
        assert services[name]["image"] == f"streamgauge:{VERSION}"
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    scaled = {key: ["scaled"] for key in ("gateway", "engine", "balancer")}
    assert profiles == scaled | {"dynamodb-local": ["dynamodb"]}


def test_compose_has_a_scaled_out_form(compose: dict[str, Any], stages: list[list[Step]]) -> None:
    services = compose["services"]
    for role in ("gateway", "engine"):
        service = services[role]
        assert service["command"] == [role] and service["deploy"]["replicas"] == 2
        assert service["environment"] == services["server"]["environment"] and service["read_only"]
        assert environment(stages[-1])["DATA_DIR"] in service["tmpfs"]
    (config,) = services["balancer"]["configs"]
    caddyfile = compose["configs"][config["source"]]["content"]
    port = environment(stages[-1])["PORT"]
    assert f"dynamic a gateway {port}" in caddyfile and f":{port} {{" in caddyfile
    assert services["balancer"]["ports"] == services["server"]["ports"]
    assert services["balancer"]["depends_on"] == {"gateway": {"condition": "service_healthy"}}


def test_compose_has_a_dynamodb_to_try(compose: dict[str, Any]) -> None:
    lines = re.findall(r"^  #   ([A-Z_]+)=(\S+)$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    given = {name.lower(): value for name, value in lines}
    (profile,) = compose["services"]["dynamodb-local"]["profiles"]
    assert given.pop("compose_profiles") == profile
    passed_on = compose["services"]["server"]["environment"]
    assert all(passed_on[name.upper()].startswith(f"${{{name.upper()}:-") for name in given), "the server gets them"
    settings = Settings(_env_file=None, **given)
    assert dynamodb_place(settings.database) == ("local", "streamgauge")
    assert settings.aws.endpoint == "http://dynamodb-local:8000" and settings.aws.create_tables
    assert settings.aws.access_key and settings.aws.secret_key and not settings.aws.session_token


class ComposeRedis(RedisServer):
    """Redis with the command line of compose.yaml, in `words`, and with a place of its own."""

    words: list[str]

    def command(self) -> list[str]:
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        return [super().command()[0], *self.words[1:], *place]


# --- the wheel


class Installed(Streamgauge):
    """The server of a virtual environment, which does not see the modules of the checkout."""

    python: Path

    def command(self) -> list[str]:
        return [str(self.python.parent / "streamgauge"), "serve"]

    def environment(self) -> dict[str, str]:
        names = super().environment()
        names.pop("PYTHONPATH", None)
        return names


def run(*command: str | Path, cwd: Path) -> None:
    """Runs a command that must succeed; its output is in the failure."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, (done.stdout + done.stderr)[-6000:])


@pytest.fixture
def redis_of_compose(compose: dict[str, Any], tmp_path: Path) -> Iterator[RedisServer]:
    server = ComposeRedis(tmp_path / "redis")
    server.words = compose["services"]["redis"]["command"]
    server.start()
    yield server
    server.stop()


def fetch(url: str) -> tuple[str, Any]:
    """(body, headers) of a page."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "text/html"}), timeout=10) as answer:
        return answer.read().decode(), answer.headers


def test_the_wheel_holds_the_page_and_runs_from_a_fresh_environment(
    stages: list[list[Step]], ignore: Ignore, redis_of_compose: RedisServer, tmp_path: Path
) -> None:
    assert (ROOT / "web/dist/index.html").is_file(), "the page is not built; run `make setup`"
    sources, python = tmp_path / "sources", tmp_path / "venv" / "bin" / "python"
    lay_out(stages[1], ignore, {"/src/web/dist/": ROOT / "web" / "dist"}, sources)
    page = {path.relative_to(sources / "web/dist").as_posix() for path in (sources / "web/dist").rglob("*.*")}
    stale = sources / "build" / "lib" / "server" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")

    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ".", cwd=sources)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {*context(ignore, "engine", "server"), *(f"server/page/{name}" for name in page)}
    assert wheel.name == f"streamgauge-{VERSION}-py3-none-any.whl"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    run(*pip, "--python", python, "install", "--no-compile", wheel, cwd=tmp_path)

    server = Installed(tmp_path / "home", {"HOST": "0.0.0.0", "API_KEYS": KEYS, "REDIS_URL": redis_of_compose.url})
    server.python = python
    try:
        server.start(30)
        html, headers = fetch(server.url)
        assert headers["content-security-policy"]
        assets = re.findall(r'(?:src|href)="(?:\./|/)(assets/[^"]+)"', html)
        assert len(assets) >= 2 and all(fetch(f"{server.url}/{asset}")[0] for asset in assets)
        assert health(stages, str(python), {"PORT": str(server.port)}) == 0

        metric = {"name": "orders", "metric_type": "counter", "value": 3}
        assert server.request("POST", "/api/metrics", metric)[0] == 401
        server.call("POST", "/api/metrics", metric, 201, **BEARER)
        server.kill()
        server.start()
        question = {"query_string": "metric:orders", "aggregation": "sum"}
        assert server.call("POST", "/api/query", question, **BEARER)["data"][0]["value"] == 3
        assert server.stop() == 0 and "Traceback" not in server.output
    finally:
        server.kill()
