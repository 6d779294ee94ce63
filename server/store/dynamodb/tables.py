"""The tables: looked at when they are opened, and made where that is wanted.

Each has the key pk (text, hash) and sk (text, range), is billed by the request, and lets items go at `expires`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from server.store import StoreUnavailable, StoreVersion
from server.store.dynamodb.batches import side_by_side
from server.store.dynamodb.failures import MISSING, Refused
from server.store.dynamodb.transport import Transport

EXPIRES = "expires"
ENABLED = (("ENABLED", EXPIRES), ("ENABLING", EXPIRES))
CREATE_SECONDS = 120.0
POLL_SECONDS = 0.25
KEY_SCHEMA = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
KEY_TYPES = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}]

logger = logging.getLogger(__name__)


async def open_tables(transport: Transport, tables: Sequence[str], *, create: bool, to_read: bool = False) -> None:
    """Check each table, and make those that are missing. StoreUnavailable or StoreVersion, with what to do.

    to_read: nothing will be written, so whether what is written goes by itself does not matter.
    """
    await side_by_side(partial(_open_table, transport, table, create, to_read) for table in tables)


async def _open_table(transport: Transport, table: str, create: bool, to_read: bool) -> None:
    name = transport.full_name(table)
    try:
        found = await _describe(transport, table)
    except Refused as refusal:
        if refusal.code != MISSING or not create:
            raise
        await _create(transport, table)
        found = {"TableStatus": "CREATING"}
    until = time.monotonic() + CREATE_SECONDS
    while found["TableStatus"] == "CREATING":
        if time.monotonic() > until:
            raise StoreUnavailable(f"the table {name} has not become ready within {CREATE_SECONDS:.0f} s; start again")
        await asyncio.sleep(POLL_SECONDS)
        found = await _described_soon(transport, table)
    _check(found, name)
    if not to_read:
        await _check_expiry(transport, table, create)


async def _described_soon(transport: Transport, table: str) -> dict[str, Any]:
    """As `_describe`, of a table that was just made: for a moment DynamoDB may not know it yet."""
    try:
        return await _describe(transport, table)
    except Refused as refusal:
        if refusal.code != MISSING:
            raise
        return {"TableStatus": "CREATING"}


async def _describe(transport: Transport, table: str) -> dict[str, Any]:
    answer = await transport.send("DescribeTable", table, {"TableName": transport.full_name(table)})
    described: dict[str, Any] = answer["Table"]
    return described


async def _create(transport: Transport, table: str) -> None:
    body = {
        "TableName": transport.full_name(table),
        "KeySchema": KEY_SCHEMA,
        "AttributeDefinitions": KEY_TYPES,
        "BillingMode": "PAY_PER_REQUEST",
    }
    try:
        await transport.send("CreateTable", table, body)
    except Refused as refusal:
        if refusal.code != "ResourceInUseException":  # another process was faster, or our own answer was lost
            raise
        return
    logger.info("The table %s is being made", transport.full_name(table))


def _check(found: dict[str, Any], name: str) -> None:
    if found["TableStatus"] not in ("ACTIVE", "UPDATING"):
        raise StoreUnavailable(f"the table {name} cannot be used, it is {found['TableStatus']}; wait, then start again")
    types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
    keys = [(each["AttributeName"], each["KeyType"], types[each["AttributeName"]]) for each in found["KeySchema"]]
    if sorted(keys) != [("pk", "HASH", "S"), ("sk", "RANGE", "S")]:
        shown = ", ".join(f"{key} ({kind.lower()}, {type})" for key, kind, type in keys)
        raise StoreVersion(
            f"the table {name} has the key {shown} instead of pk (hash, S), sk (range, S), so it belongs to another "
            "program; use another prefix in DATABASE_URL"
        )


async def _check_expiry(transport: Transport, table: str, create: bool) -> None:
    """The table lets items go at `expires`; StoreUnavailable where it does not and may not be changed."""
    name = transport.full_name(table)
    try:
        status, attribute = await _expiry(transport, table)
        if status == "DISABLED" and create:
            await _enable_expiry(transport, table)
            return
    except Refused as refusal:
        if refusal.code != "UnknownOperationException":
            raise
        logger.warning("This DynamoDB has no time to live: expired items stay in the table %s, unread", name)
        return
    if (status, attribute) in ENABLED:
        return
    if not attribute or status not in ("ENABLED", "ENABLING"):
        raise StoreUnavailable(
            f"the table {name} does not let items go (its time to live is {status}): turn it on for the attribute "
            f"{EXPIRES}, or set CREATE_TABLES=true to have it turned on"
        )
    raise StoreVersion(
        f"the table {name} lets items go by the attribute {attribute} instead of {EXPIRES}, so it belongs to "
        "another program; use another prefix in DATABASE_URL"
    )


async def _expiry(transport: Transport, table: str) -> tuple[str, str]:
    answer = await transport.send("DescribeTimeToLive", table, {"TableName": transport.full_name(table)})
    described = answer["TimeToLiveDescription"]
    return described.get("TimeToLiveStatus", "DISABLED"), described.get("AttributeName", "")


async def _enable_expiry(transport: Transport, table: str) -> None:
    wanted = {"Enabled": True, "AttributeName": EXPIRES}
    body = {"TableName": transport.full_name(table), "TimeToLiveSpecification": wanted}
    try:
        await transport.send("UpdateTimeToLive", table, body)
    except Refused as refusal:
        # Another process was faster, or our own answer was lost.
        if refusal.code != "ValidationException" or await _expiry(transport, table) not in ENABLED:
            raise
