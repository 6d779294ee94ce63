"""Settings: where they come from, what they accept, how faults are told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from server.config import (
    OLDER_NAMES,
    PREFIX,
    ConfigError,
    Settings,
    load_settings,
)
from server.setting_kinds import parse_api_keys, parse_duration, parse_size
from server.store import Aws, dynamodb_place


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    for name in OLDER_NAMES.values():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(PREFIX + name, raising=False)


def test_the_defaults() -> None:
    found = load_settings()
    assert (found.host, found.port, found.lateness, found.firehose_rate) == ("127.0.0.1", 8000, 60, 20)
    assert found.retention_5s == 86_400_000 and found.longest_retention == 3650 * 86_400_000
    assert found.database.endswith("data/streamgauge.db") and found.log.startswith("file:///")


def test_the_prefixed_name_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    assert load_settings().port == 1
    monkeypatch.setenv("STREAMGAUGE_PORT", "2")
    assert load_settings().port == 2
    assert load_settings(port=3).port == 3


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("STREAMGAUGE_LOG_MAX_BYTES=1 GiB\nLATENESS=5m\nOTHER=1\n")
    found = load_settings()
    assert found.log_max_bytes == 1 << 30 and found.lateness == 300
    monkeypatch.setenv("LATENESS", "10")
    assert load_settings().lateness == 10
    (tmp_path / ".env").write_text("STREAMGAUGE_LATNESS=5\n")
    with pytest.raises(ConfigError, match="STREAMGAUGE_LATNESS is no setting; did you mean STREAMGAUGE_LATENESS"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("LATENESS", "-1"),
        ("LOG_FSYNC", "sometimes"),
        ("LOG_FSYNC", "0"),
        ("RETENTION_1H", "a while"),
        ("PANE_MEMORY", "256 MiBi"),
        ("AUTH", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("ENABLE_PERSISTENCE", "perhaps"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert name in str(caught.value) and value in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS", "hunter2hunter2"),
        ("API_KEYS", "write:hunter2hunter2"),
        ("API_KEYS", "read:hunter2"),
        ("REDIS_URL", "http://user:hunter2@host"),
        ("DATABASE_URL", "postgres://user:hunter2@host"),
        ("DATABASE_URL", "dynamodb://hunter2"),
        ("AWS_ENDPOINT_URL", "http://user:hunter2@host"),
    ],
)
def test_a_secret_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert name in str(caught.value) and "hunter2" not in str(caught.value)
    good = {"API_KEYS": "read:hunter2hunter2", "REDIS_URL": "redis://:hunter2@h", "AWS_ENDPOINT_URL": "http://h"}
    monkeypatch.setenv(name, good.get(name, "sqlite:///hunter2"))
    assert "hunter2" not in repr(load_settings())


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("LATENESS", "x")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(ConfigError, match="no setting"):
        load_settings(prot=1)


def test_units() -> None:
    assert [parse_duration(text) for text in ("200ms", "1.5s", "90", "5m", "24h", "30d", "2w", "10y")] == [
        200, 1500, 90_000, 300_000, 86_400_000, 2_592_000_000, 1_209_600_000, 315_360_000_000,
    ]  # fmt: skip
    assert [parse_size(text) for text in ("5", "1 KiB", "256 MiB", "8GiB", "10 MB", "1.5kib")] == [
        5, 1024, 256 << 20, 8 << 30, 10_000_000, 1536,
    ]  # fmt: skip


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_origins_are_a_set() -> None:
    assert load_settings(allowed_origins=" https://A.example/ ,*").origins == {"https://a.example", "*"}


def test_the_variables_of_the_client_commands_are_no_misspelt_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMGAUGE_URL", "http://other:8000")
    (tmp_path / ".env").write_text("STREAMGAUGE_KEY=12345678\n")
    assert load_settings().port == 8000
    monkeypatch.setenv("STREAMGAUGE_URLS", "x")
    with pytest.raises(ConfigError, match="STREAMGAUGE_URLS is no setting"):
        load_settings()


def test_a_key_may_be_given_by_its_hash() -> None:
    digest = hashlib.sha256(b"a-secret-key").digest()
    both = f"read:a-secret-key, ingest+admin:sha256={digest.hex().upper()}"
    assert parse_api_keys(both) == [(frozenset({"read"}), digest), (frozenset({"ingest", "admin"}), digest)]
    for short in ("sha256=", "sha256=abcdef", f"sha256={digest.hex()}0", f"sha256={digest.hex()[:-1]}g"):
        with pytest.raises(ConfigError, match="key 2 must have 64 hex digits") as caught:
            load_settings(api_keys=f"read:12345678,ingest:{short}")
        assert len(short) < 10 or short[7:] not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("dynamodb://eu-central-1/streamgauge", ("eu-central-1", "streamgauge")),
        ("dynamodb://us-gov-west-1/Team_A.b-9", ("us-gov-west-1", "Team_A.b-9")),
        ("dynamodb://local/" + "p" * 200, ("local", "p" * 200)),
    ],
)
def test_a_store_in_dynamodb(url: str, place: tuple[str, str]) -> None:
    assert load_settings(database_url=url).database == url and dynamodb_place(url) == place


@pytest.mark.parametrize(
    "rest",
    [
        *("", "//", "//eu-central-1", "//eu-central-1/", "///p", "//EU/p", "//eu central/p", "//r1/a/b", "//r1/ä"),
        *("//r1/a b", "//r1/" + "p" * 201, "//key:secret@r1/p", "//r1/p?x=1"),
    ],
)
def test_an_address_in_dynamodb_that_cannot_be(rest: str) -> None:
    with pytest.raises(ConfigError, match=r"DATABASE_URL.* must be dynamodb://region/prefix"):
        load_settings(database_url="dynamodb:" + rest)


def test_how_to_reach_dynamodb_may_stand_in_the_file(tmp_path: Path) -> None:
    assert load_settings().aws == Aws()
    (tmp_path / ".env").write_text(
        "AWS_ENDPOINT_URL=http://localhost:8000/\nAWS_ACCESS_KEY_ID=id-hunter2\nAWS_SECRET_ACCESS_KEY=hunter2\n"
        "STREAMGAUGE_AWS_SESSION_TOKEN=token-hunter2\nCREATE_TABLES=true\nDATABASE_URL=dynamodb://local/p\n"
    )
    found = load_settings()
    assert found.aws == Aws("http://localhost:8000", "id-hunter2", "hunter2", "token-hunter2", True)
    assert "hunter2" not in repr(found) and "hunter2" not in repr(found.aws)


def test_the_names_of_older_installations_are_read_where_the_usual_ones_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY", "older")
    monkeypatch.setenv("STREAMGAUGE_AWS_SECRET_KEY", "older secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    aws = load_settings().aws
    assert (aws.access_key, aws.secret_key) == ("older", "older secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "usual")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "usual secret")
    aws = load_settings().aws
    assert (aws.access_key, aws.secret_key) == ("usual", "usual secret")
    monkeypatch.setenv("STREAMGAUGE_AWS_SECRET_KEYS", "x")
    with pytest.raises(ConfigError, match="STREAMGAUGE_AWS_SECRET_KEYS is no setting"):
        load_settings()


def test_half_a_key_is_a_fault_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hunter2")
    assert load_settings().aws.access_key == "hunter2"
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together") as caught:
        load_settings(database_url="dynamodb://eu-central-1/p")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", "http://h/path", "http://h:port", "http://a b"])
def test_an_endpoint_is_a_host_and_a_port(url: str) -> None:
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL.* must be http:// or https://, a host"):
        load_settings(aws_endpoint_url=url)
    assert load_settings(aws_endpoint_url="https://[::1]:8000").aws.endpoint == "https://[::1]:8000"
