"""Templates of alerts: those that are ready and one's own, loaded in the shape of S4, and alerts made of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.routing import Route

from engine.errors import EngineError
from server.api.alert_models import Alert
from server.api.alert_rules import REFUSED, AlertAnswers
from server.api.documents import Documents
from server.api.http import as_api_error, read_model, route
from server.api.models import Deleted
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.rule_bodies import AlertMembers, Template
from server.rule_templates import READY, members_of
from server.store import Store
from server.wire.times import format_time

KIND = "template"
MAX_SAVED = 1_000
MAX_BYTES = 32 * 1024
MAX_LOADED = 100

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


class Load(BaseModel):
    """Body of POST /api/alerts/templates/load."""

    model_config = ConfigDict(extra="forbid")

    alert_templates: dict[Name, Template] = Field(max_length=MAX_LOADED)


class Loaded(BaseModel):
    """Templates by name."""

    alert_templates: dict[str, Template]


class Templates(Loaded):
    """All templates by name."""

    ready: list[str] = Field(description="the names of those that were not loaded")


_EXAMPLE = {
    "alert_templates": {
        "high_error_rate": {
            "condition": "metric:api_errors_total > 100", "severity": "critical",
            "message": "High error rate detected: {value} errors",
        },
        "low_memory": {
            "condition": "metric:memory_usage < 10", "severity": "warning", "message": "Low memory: {value}% remaining",
        },
    }
}  # fmt: skip
_NAME = Parameter("template_id", "the name of the template", example="slow_requests", where="path")
LISTING = Spec("List the templates of alerts", "alert", answer=Templates)
LOAD = Spec(
    "Load templates of alerts", "alert", "One of the same name is replaced. All are loaded or none.",
    body=Load, body_examples={"two": _EXAMPLE}, answer=Loaded, errors=REFUSED,
)  # fmt: skip
MAKE = Spec(
    "Make an alert of a template", "alert",
    "The body has what is to be otherwise, such as `metric_name`, `threshold` or `notification_channels`; null leaves "
    "a member of the template out.",
    body=AlertMembers, body_examples={"slack": {"notification_channels": ["slack"]}}, answer=Alert,
    parameters=(_NAME,), errors=REFUSED,
)  # fmt: skip
DELETE = Spec(
    "Delete a template that was loaded", "alert", answer=Deleted, parameters=(_NAME,),
    errors=("not_found", "store_unavailable"),
)  # fmt: skip


class SavedTemplates(Documents):
    """The loaded templates; their ids are their names."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, KIND, MAX_SAVED, MAX_BYTES)

    def templates(self) -> dict[str, Template]:
        """All by name, those that are ready first, unless they have been replaced."""
        return {**READY, **{each["id"]: Template.model_validate(each["template"]) for each in self.all()}}

    def find_template(self, name: str) -> Template:
        """The template of a name. Raises ApiError not_found."""
        found = self.templates().get(name)
        if found is None:
            raise ApiError("not_found", f"there is no template {name[:100]!r}")
        return found

    async def load(self, given: dict[str, Template]) -> None:
        """Saves templates for good. Raises ApiError conflict where there are too many."""
        async with self._writing:
            if len(self._documents.keys() | given.keys()) > MAX_SAVED:
                raise ApiError("conflict", f"{MAX_SAVED} templates can be kept; delete some first")
            now = format_time(time.time_ns() // 1_000_000)
            for name, template in given.items():
                await self._write({"id": name, "created_at": now, "template": template.members()})


def routes(templates: SavedTemplates, answers: AlertAnswers, gate: Gate) -> list[Route]:
    """The routes."""

    async def listing(request: Request) -> Any:
        found = templates.templates()
        ready = [name for name in READY if name not in {each["id"] for each in templates.all()}]
        return {"alert_templates": _shown(found), "ready": ready}

    async def load(request: Request) -> Any:
        body = await read_model(request, Load)
        for name, template in body.alert_templates.items():
            _check(answers, name, template)
        await templates.load(body.alert_templates)
        return {"alert_templates": _shown(body.alert_templates)}

    async def make(request: Request) -> Any:
        name = request.path_params["template_id"]
        template = templates.find_template(name)
        body = await read_model(request, AlertMembers)
        return answers.shown(await answers.saved.save(members_of(name, template, body.changes())))

    async def delete(request: Request) -> Any:
        name = request.path_params["template_id"]
        await templates.delete(name)
        return {"message": "template deleted", "id": name}

    path = "/api/alerts/templates"
    return [
        route(path, listing, "GET", gate, "read", spec=LISTING),
        route(path + "/load", load, "POST", gate, "read", 201, spec=LOAD),
        route(path + "/{template_id}", make, "POST", gate, "read", 201, spec=MAKE),
        route(path + "/{template_id}", delete, "DELETE", gate, "read", spec=DELETE),
    ]


def _shown(templates: dict[str, Template]) -> dict[str, Any]:
    return {name: template.members() for name, template in templates.items()}


def _check(answers: AlertAnswers, name: str, template: Template) -> None:
    """Whether an alert can be made of it as it is. Raises ApiError."""
    if name == "load":
        raise ApiError("bad_request", "alert_templates.load: this name is taken by the address that loads them")
    try:
        answers.saved.rule(members_of(name, template, {}))
    except (ApiError, EngineError) as error:
        fault = as_api_error(error)
        raise ApiError(fault.code, f"alert_templates.{name}: {fault.message}") from None
