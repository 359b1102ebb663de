"""`cronjob`: the agent manages scheduled jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.jobs import JobDesk
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import tool
from hermes_agent.tools.setup import ToolSetup

Action = Literal["list", "create", "edit", "pause", "resume", "run", "remove"]
_SHOWN = (
    "id", "name", "schedule_display", "state", "next_run_at", "last_run_at", "last_status", "last_error",
    "deliver",
)  # fmt: skip


def build(setup: ToolSetup) -> Tool | None:
    """The tool, if there is somewhere to keep jobs."""
    desk, chat_of = setup.services.jobs, setup.services.chat_of
    if desk is None:
        return None

    @tool(emoji="⏰", toolset="cronjob", preview="action")
    async def cronjob(  # noqa: PLR0913, PLR0917 - the parameters are a contract with the model
        action: Action,
        job_id: Annotated[str | None, "id or name; for all but list and create"] = None,
        prompt: Annotated[str | None, "what to do then; complete in itself"] = None,
        schedule: Annotated[str | None, "30m, every 2h, cron fields (local time) or ISO time"] = None,
        name: str | None = None,
        repeat: Annotated[int | None, "times to run"] = None,
        deliver: Annotated[str | None, "default: this chat (origin); local, platform, platform:chat"] = None,
        skills: list[str] | None = None,
        model: str | None = None,
        script: str | None = None,
        no_agent: bool | None = None,
        context_from: list[str] | None = None,
        enabled_toolsets: list[str] | None = None,
        workdir: str | None = None,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Schedule work for later, once or repeatedly. Turn words like "at nine" into a schedule."""
        fields = {
            "prompt": prompt, "schedule": schedule, "name": name, "repeat": repeat, "deliver": deliver,
            "skills": skills, "model": model, "script": script, "no_agent": no_agent,
            "context_from": context_from, "enabled_toolsets": enabled_toolsets, "workdir": workdir,
        }  # fmt: skip
        given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
        if action == "list":
            jobs = [_short(job) for job in desk.all()]
            return ToolResult(json.dumps(jobs, ensure_ascii=False), summary=f"{len(jobs)} jobs")
        if action == "create" and chat_of is not None:
            origin = await chat_of(context.session.session_id)
            if origin is not None:
                given.setdefault("deliver", "origin")
                given["origin"] = dict(origin)
        job = _act(desk, action, job_id, given)
        return ToolResult(json.dumps(_short(job), ensure_ascii=False), summary=f"{action} {job['id']}")

    return cronjob


def _act(desk: JobDesk, action: str, job_id: str | None, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if action == "create":
        return desk.create(fields)
    if not job_id:
        raise ToolArgumentsError(f"job_id: needed to {action} a job")
    if action == "edit":
        return desk.edit(job_id, fields)
    verbs = {"pause": desk.pause, "resume": desk.resume, "run": desk.run_soon, "remove": desk.remove}
    return verbs[action](job_id)


def _short(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: job[key] for key in _SHOWN if job.get(key) not in (None, "")}
