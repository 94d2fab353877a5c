"""Bring the server's deployments in line with prefect.yaml, and change nothing that already is.

A deployment's `version` is Penstock's version and a hash over its declaration and its flow's file. Where the server
has that version nothing is sent, so what a person set in the UI (a paused schedule) stays until the declaration
changes; the flows are not even imported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flows
from deployments.pools import plugged_backends
from models.errors import OrchestratorError, SettingsError
from models.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.flows import Flow

__all__ = ["Declared", "declared", "deploy", "project_root"]

_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_ENTRYPOINT = re.compile(r"(?P<path>[\w/]+)\.py:(?P<function>\w+)")


@dataclass(frozen=True)
class Declared:
    """One deployment of prefect.yaml."""

    name: str
    module: str  # flows.pipeline
    function: str
    pool: str
    description: str = ""
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    schedules: tuple[dict[str, Any], ...] = ()

    @property
    def flow_name(self) -> str:
        """A flow is named as its function: `pipeline/local` is flows/pipeline.py:pipeline as `local`."""
        return self.function

    @property
    def full_name(self) -> str:
        return f"{self.flow_name}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """As a module path: it is imported wherever Penstock is installed, and needs no pull step."""
        return f"{self.module}.{self.function}"

    def version(self, root: Path) -> str:
        digest = hashlib.sha256()
        digest.update(json.dumps(self.__dict__, sort_keys=True, default=list).encode())
        digest.update((root / (self.module.replace(".", "/") + ".py")).read_bytes())
        digest.update(version("prefect").encode())  # another one may describe parameters differently
        return f"{version('penstock')}+{digest.hexdigest()[:12]}"


def project_root() -> Path:
    """The folder that holds the packages: of a checkout, or site-packages."""
    return Path(str(flows.__file__)).resolve().parent.parent


def declared(settings: Settings, path: Path | None = None) -> list[Declared]:
    """The deployments of prefect.yaml, `{{ $NAME }}` filled in from the settings. Raises SettingsError."""
    import yaml

    root = project_root()
    # A wheel carries it inside this package, a checkout at its root.
    found = path or next(
        (p for p in (root / "prefect.yaml", root / "deployments" / "prefect.yaml") if p.exists()), None
    )
    if found is None:
        raise SettingsError(f"prefect.yaml is not in {root}. Install Penstock again.")
    values = {"PENSTOCK_NIGHTLY_CRON": settings.nightly_cron, "PENSTOCK_TIMEZONE": settings.timezone}
    try:
        content = yaml.safe_load(found.read_text(encoding="utf-8"))
        deployments = [_read(entry, values) for entry in content["deployments"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{found} is no list of deployments: {error!s}. Correct it.") from None
    return deployments + [_drain(backend) for backend in plugged_backends(settings)]


def _drain(backend: str) -> Declared:
    """As those of prefect.yaml, for a backend that a plug-in adds."""
    return Declared(
        name=backend,
        module="flows.execute",
        function="execute",
        pool=backend,
        description=f"Drain the ready items on {backend}, a plug-in.",
        tags=("penstock", "drain"),
        parameters={"backend": backend},
    )


def _read(entry: Mapping[str, Any], values: Mapping[str, str]) -> Declared:
    given = _filled(entry, values)
    match = _ENTRYPOINT.fullmatch(given["entrypoint"])
    if match is None:
        raise ValueError(f"the entrypoint {given['entrypoint']!r} is not like flows/name.py:name")
    return Declared(
        name=given["name"],
        module=match["path"].replace("/", "."),
        function=match["function"],
        pool=given["work_pool"]["name"],
        description=given.get("description", ""),
        tags=tuple(given.get("tags", ())),
        parameters=given.get("parameters", {}),
        schedules=tuple(given.get("schedules", ())),
    )


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: values[match[1]], value)
    if isinstance(value, Mapping):
        return {key: _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    return value


async def deploy(client: PrefectClient, wanted: list[Declared]) -> list[str]:
    """Create and update deployments. Returns the full names of those that changed. Raises OrchestratorError."""
    there = await _versions(client)
    root = project_root()
    changed: list[str] = []
    for each in wanted:
        try:
            target = each.version(root)
        except FileNotFoundError as error:
            raise OrchestratorError(
                f"prefect.yaml declares {each.full_name}, and {error.filename} is not there."
            ) from None
        if there.get(each.full_name) != target:
            await _apply(client, each, target)
            changed.append(each.full_name)
    return changed


async def _versions(client: PrefectClient) -> dict[str, str | None]:
    """The version of every deployment, by full name."""
    names = {flow.id: flow.name for flow in await _all(client.read_flows)}
    found = await _all(client.read_deployments)
    return {f"{names.get(each.flow_id)}/{each.name}": each.version for each in found}


async def _all(read: Any) -> list[Any]:
    rows: list[Any] = []
    while page := await read(limit=200, offset=len(rows)):
        rows.extend(page)
    return rows


async def _apply(client: PrefectClient, each: Declared, target: str) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.callables import parameter_schema

    flow = _load(each)
    try:
        schedules = [
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=given["cron"], timezone=given["timezone"]),
                active=True,
                slug=given["slug"],
            )
            for given in each.schedules
        ]
    except ValueError as error:
        raise SettingsError(
            f"The schedule of {each.full_name} can't be used: {each.schedules}. Correct PENSTOCK_NIGHTLY_CRON "
            "(minute hour day month weekday) or PENSTOCK_TIMEZONE."
        ) from error
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=each.name,
        version=target,
        entrypoint=each.entrypoint,
        work_pool_name=each.pool,
        description=each.description,
        tags=list(each.tags),
        parameters=each.parameters,
        schedules=schedules,
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=[],
    )


def _load(each: Declared) -> Flow[..., Any]:
    from importlib import import_module

    from prefect.flows import Flow

    found = getattr(import_module(each.module), each.function, None)
    if not isinstance(found, Flow) or found.name != each.flow_name:
        raise OrchestratorError(
            f"{each.module} has no flow named {each.flow_name!r}, which prefect.yaml declares as {each.full_name}."
        )
    return found
