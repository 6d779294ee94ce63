"""What a route of the table says of itself; `server.api.openapi` makes a document of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

JSON, NDJSON, HTML, TEXT = "application/json", "application/x-ndjson", "text/html", "text/plain"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route. A path parameter need not be named: the path has it."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: Any = None
    where: str = "query"
    """query, header or path."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A route as a reader sees it.

    body, answer: a pydantic model, `list[Model]`, or a JSON schema; None where there is none. errors: codes of
    server.errors that this route may answer besides those that its scope and its body bring along.
    """

    summary: str
    tag: str
    description: str = ""
    body: Any = None
    body_examples: dict[str, Any] = field(default_factory=dict)
    """Name -> body; each is answered as promised."""
    lines: str | None = None
    """An example of the body as NDJSON, where it may be that."""
    answer: Any = None
    more_answers: dict[int, Any] = field(default_factory=dict)
    """Status -> answer, besides the route's own."""
    answer_examples: dict[int, Any] = field(default_factory=dict)
    """Status -> answer."""
    meanings: dict[int, str] = field(default_factory=dict)
    """Status -> what it means, where that needs words."""
    media: str = JSON
    """Media type of the answer."""
    or_media: str | None = None
    """The same in another media type, where the Accept header asks for it."""
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()

    def answers(self, status: int) -> dict[int, Any]:
        """Status -> shape of all answers that are no errors; `status` is the route's own."""
        return {status: self.answer, **self.more_answers}


class TableRoute(Route):
    """A row of the route table: a route with its scope (None for everybody), its status and its spec."""

    def __init__(
        self, path: str, endpoint: Any, method: str, scope: str | None, status: int, spec: Spec | None
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method, self.scope, self.status, self.spec = method, scope, status, spec


def open_route(path: str, handler: Any, spec: Spec) -> TableRoute:
    """A GET for everybody, whose handler makes the Response itself."""

    async def endpoint(request: Request) -> Response:
        response: Response = await handler(request)
        return response

    return TableRoute(path, endpoint, "GET", None, 200, spec)
