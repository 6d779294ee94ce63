"""Requests to DynamoDB on an event loop in a thread of its own, repeated until they succeed or their time is up.

aioboto3 finds credentials, signs and sends. The JSON of requests and answers is made here, through three of its hooks:
so a batch knows its size before it is sent, an attempt after the first costs no encoding, and answers go past its
parser, which takes two to five times as long as json. Of the 0.7 ms of a small request most is sending and signing.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import zlib
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError

from server.store import Aws, StoreClosed, StoreError
from server.store.dynamodb.failures import Garbled, Passing, Place, judge, unusable, used_up
from server.store.dynamodb.usage import Usage
from server.store.dynamodb.values import as_json

T = TypeVar("T")

CONNECTIONS = 32
CONNECT_SECONDS, READ_SECONDS = 5, 10
BUDGET_SECONDS = 20.0
"""How long a request is tried while nothing of it gets done."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds. The n-th pause is drawn from 0 to the first one times 2^n, so that many clients do not come back at once."""


class Patience:
    """How long one request is still tried. `doubtful`: an attempt may have been carried out unseen."""

    def __init__(self, place: Place, budget: float) -> None:
        self.place = place
        self.doubtful = False
        self._budget = budget
        self._attempts = 0
        self.progress()

    def progress(self) -> None:
        """Part of the request is done: the rest has its full time again."""
        self._began = time.monotonic()
        self._failures = 0

    def attempt(self) -> float:
        """Seconds that the attempt which begins now may take; at least a moment."""
        self._attempts += 1
        return max(0.05, self._began + self._budget - time.monotonic())

    async def pause(self, why: Passing) -> None:
        """Wait before the next attempt. StoreUnavailable when no time is left for one."""
        self.doubtful |= why.doubtful
        pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures))
        self._failures += 1
        if time.monotonic() + pause >= self._began + self._budget:
            raise used_up(self.place, self._budget, self._attempts, why.reason)
        await asyncio.sleep(pause)


class Transport:
    """One aioboto3 client on a loop in a thread. `run` is for other threads, the rest for coroutines on that loop."""

    def __init__(self, region: str, prefix: str, aws: Aws, usage: Usage, budget: float = BUDGET_SECONDS) -> None:
        self.region = region
        self._prefix = prefix
        self._usage = usage
        self._budget = budget
        self._closed = False
        self._lock = threading.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dynamodb", daemon=True)
        self._thread.start()
        try:
            self._client: Any = self.run(self._open(aws))
        except (BotoCoreError, ValueError) as error:
            self.close()
            raise unusable(error, region) from None
        except BaseException:
            self.close()
            raise

    async def _open(self, aws: Aws) -> Any:
        session = aioboto3.Session(
            aws_access_key_id=aws.access_key or None,
            aws_secret_access_key=aws.secret_key or None,
            aws_session_token=aws.session_token or None,
            region_name=self.region,
        )
        config = AioConfig(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            parameter_validation=False,
            account_id_endpoint_mode="disabled",
            user_agent="streamgauge",  # its own is put together anew for each request
        )
        client = await self._stack.enter_async_context(
            session.client("dynamodb", endpoint_url=aws.endpoint or None, config=config)
        )
        events = client.meta.events
        events.register("before-parameter-build.dynamodb", _hold_body)
        events.register("before-call.dynamodb", _put_body)
        events.register("before-parse.dynamodb", _keep_answer)
        return client

    def full_name(self, table: str) -> str:
        """The name of a table as DynamoDB has it."""
        return f"{self._prefix}-{table}"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the loop; the calling thread waits. StoreClosed after `close`, or during it."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise StoreClosed("the connection to DynamoDB is closed")
            future = asyncio.run_coroutine_threadsafe(self._tracked(coroutine), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # does nothing unless the waiting was interrupted
            raise

    async def _tracked(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await coroutine
        except asyncio.CancelledError:
            if self._closed:
                raise StoreClosed("the connection to DynamoDB was closed meanwhile") from None
            raise
        finally:
            self._running.discard(task)

    def patience(self, operation: str, table: str) -> Patience:
        """For a request that is sent in more than one piece."""
        return Patience(Place(operation, self.full_name(table), self.region), self._budget)

    async def send(
        self, operation: str, table: str, body: bytes | dict[str, Any], patience: Patience | None = None
    ) -> dict[str, Any]:
        """The answer to one operation, which is sent again while its failures may pass and its time lasts.

        StoreUnavailable when its time is over; then it may have been done or not. Refused, Stale: it has not been done.
        """
        patience = patience or self.patience(operation, table)
        data = body if isinstance(body, bytes) else as_json(body)
        again = False
        while True:
            self._usage.add(table, requests=1, retries=int(again))
            try:
                async with asyncio.timeout(patience.attempt()):
                    return await self._attempt(operation, data)
            except Exception as error:
                found = judge(error, patience.place)
                if isinstance(found, StoreError):
                    raise found from None
            self._usage.add(table, throttled=int(found.throttled))
            await patience.pause(found)
            again = True

    async def _attempt(self, operation: str, data: bytes) -> dict[str, Any]:
        # aioboto3 looks into RequestItems for the address to send to, even where there is no choice of one.
        rest: dict[str, Any] = {"RequestItems": {}} if operation.startswith("Batch") else {}
        answer = await getattr(self._client, METHODS[operation])(Body=data, **rest)
        raw: bytes = answer[_RAW]
        checksum = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-crc32")
        if checksum is not None and int(checksum) != zlib.crc32(raw):
            raise Garbled
        try:
            decoded: dict[str, Any] = json.loads(raw)
        except ValueError:
            raise Garbled from None
        return decoded

    def close(self) -> None:
        """End what runs and the thread. Closing twice does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        await self._stack.aclose()
        await self._loop.shutdown_default_executor()


_RAW = "RawAnswer"
METHODS = {
    "GetItem": "get_item", "BatchGetItem": "batch_get_item", "Query": "query", "PutItem": "put_item",
    "BatchWriteItem": "batch_write_item", "DescribeTable": "describe_table", "CreateTable": "create_table",
    "DescribeTimeToLive": "describe_time_to_live", "UpdateTimeToLive": "update_time_to_live",
}  # fmt: skip
"""Operation, as AWS and its permissions name it -> the client's method."""


def _hold_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """The parameters are a body that is ready; it waits until the request around it is."""
    context["ready_body"] = params.pop("Body")


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context["ready_body"]


def _keep_answer(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """A good answer goes past aioboto3's parser as it came; a refusal is left to it."""
    if response_dict["status_code"] < 300:
        customized_response_dict[_RAW] = response_dict["body"]
        response_dict["body"] = b"{}"
