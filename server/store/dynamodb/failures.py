"""What a failure of DynamoDB means: try again, or a sentence that says what to do.

AWS repeats parts of a request, a session token among them, when it refuses the signature; so what it says is passed on
only where it cannot be about that, and such errors are raised without the one they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from server.store import StoreError, StoreUnavailable

THROTTLED = {
    "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "Throttling",
    "ThrottledException", "TooManyRequestsException",
}  # fmt: skip
PASSING = {"InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException"}
CREDENTIALS = {
    "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidClientTokenId", "ExpiredToken",
    "ExpiredTokenException", "RequestExpired", "SignatureDoesNotMatch", "NotAuthorized", "OptInRequired",
}  # fmt: skip
PLAIN = {
    "ValidationException", "SerializationException", "UnknownOperationException", "ResourceInUseException",
    "LimitExceededException", "ItemCollectionSizeLimitExceededException",
}  # fmt: skip
"""Refusals that have to do with the request's contents only, so that what is said about them may be passed on."""
DENIED = {"AccessDeniedException", "AccessDenied"}
MISSING = "ResourceNotFoundException"


class Stale(StoreError):
    """A put whose condition does not hold: somebody else has written the item since."""


class Refused(StoreUnavailable):
    """DynamoDB will not do it, however often it is asked. `code`: why, as DynamoDB names it."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Garbled(Exception):
    """An answer that is no JSON, or whose checksum does not fit."""


@dataclass(frozen=True, slots=True)
class Passing:
    """A failure that may pass. doubtful: the request may have been carried out, only its answer is missing."""

    reason: str
    throttled: bool = False
    doubtful: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """What a message says about a request."""

    operation: str
    table: str
    """The full name of the table."""
    region: str


def judge(error: Exception, place: Place) -> Passing | StoreError:
    """What to do about a failed request: try again, or raise this."""
    if isinstance(error, ClientError):
        return _answered(error, place)
    if isinstance(error, SSLError):
        return StoreUnavailable(
            f"no TLS connection to DynamoDB in {place.region}: {_cause(error)}; check AWS_ENDPOINT_URL and certificates"
        )
    if isinstance(error, HTTPClientError | NoConnectionError):
        reason = f"{type(error).__name__.removesuffix('Error')}: {_cause(error)}".strip(": ")
        if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
            reason += "; check the region in DATABASE_URL and AWS_ENDPOINT_URL"
        # A connection that is reset after the request went out is an EndpointConnectionError as well.
        return Passing(reason, doubtful=not isinstance(error, ConnectTimeoutError))
    if isinstance(error, TimeoutError):
        return Passing("no answer in time")
    if isinstance(error, BotoCoreError):
        return unusable(error, place.region)
    if isinstance(error, Garbled):
        return Passing("an answer that is no JSON, or damaged on its way")
    raise error


def _answered(error: ClientError, place: Place) -> Passing | StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
    if code in THROTTLED:
        return Passing(code, throttled=True, doubtful=False)
    if code in PASSING or status >= 500 or status == 408:
        return Passing(f"HTTP {status} {code}" if code != str(status) else f"HTTP {status}")
    if code == "ConditionalCheckFailedException":
        return Stale(f"an item of the table {place.table} is not as it was expected to be")
    return Refused(code, _refusal(code or str(status), said, place))


def _refusal(code: str, said: str, place: Place) -> str:
    if code in CREDENTIALS:
        return (
            f"AWS does not accept the credentials in {place.region} ({code}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, the region in DATABASE_URL and the clock of this machine"
        )
    if code in DENIED:
        return (
            f"AWS does not allow {place.operation} on the table {place.table} in {place.region}: "
            f"allow dynamodb:{place.operation} for it in the policy of the key or role"
        )
    if code == MISSING:
        return (
            f"the table {place.table} is not there in {place.region}: set CREATE_TABLES=true to have it made at the "
            "next start, or make it, or check region and prefix in DATABASE_URL"
        )
    why = f"{code}: {said}" if code in PLAIN else code
    return f"DynamoDB refuses {place.operation} on the table {place.table} in {place.region}: {why}"


def unusable(error: Exception, region: str) -> StoreError:
    """No request could be made at all: no credentials, an unknown profile, an impossible region or address."""
    kind = type(error).__name__
    if "Credential" in kind or "Profile" in kind or "Token" in kind or "SSO" in kind:
        return StoreUnavailable(
            f"there are no credentials for DynamoDB in {region} ({kind}): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give the machine a profile or a role"
        )
    return StoreUnavailable(
        f"DynamoDB in {region} cannot be addressed ({kind}): check the region in DATABASE_URL and AWS_ENDPOINT_URL"
    )


def used_up(place: Place, seconds: float, attempts: int, reason: str) -> StoreUnavailable:
    """The request has been tried for long enough."""
    return StoreUnavailable(
        f"DynamoDB in {place.region} has not done {place.operation} on the table {place.table} within {seconds:g} s "
        f"({attempts} attempts); the last reason: {reason}"
    )


def _cause(error: BotoCoreError) -> str:
    return " ".join(str(error.kwargs.get("error") or "").split())[:200]
