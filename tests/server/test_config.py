"""Settings: where they come from, what they accept, how faults are told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from server.config import PREFIX, ConfigError, Settings, load_settings, parse_api_keys, parse_duration, parse_size


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


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
    ],
)
def test_a_secret_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert name in str(caught.value) and "hunter2" not in str(caught.value)
    monkeypatch.setenv(
        name, {"API_KEYS": "read:hunter2hunter2", "REDIS_URL": "redis://:hunter2@h"}.get(name, "sqlite:///hunter2")
    )
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
