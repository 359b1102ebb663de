"""`/api/jobs`: scheduled jobs, for front ends. Whoever has the key may run commands anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hermes_agent.api.call import Call
from hermes_agent.api.errors import bad_request, not_found
from hermes_agent.core.errors import UsageError
from hermes_agent.core.jobs import JobDesk

_NUMBERS: Final = (int, float)
FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "prompt", "schedule", "deliver", "model", "provider"), (str,)),
    **dict.fromkeys(("script", "workdir", "misfire", "alert"), (str,)),
    **dict.fromkeys(("skills", "context_from", "enabled_toolsets"), (list,)),
    **dict.fromkeys(("repeat", "concurrency", "max_turns", "max_tokens"), (int,)),
    **dict.fromkeys(("jitter_seconds", "max_usd"), _NUMBERS),
    "no_agent": (bool,),
}
"""What a job has that may be set, and of which kind it is."""

_SECRETLESS: Final = frozenset({"base_url", "api_key"})


class Jobs:
    """Lists and changes jobs.

    Args:
        desk: Where they are kept.
    """

    def __init__(self, desk: JobDesk) -> None:
        self._desk = desk

    async def list(self, call: Call) -> None:
        """All jobs."""
        await call.answer({"jobs": [_shown(job) for job in self._desk.all()]})

    async def create(self, call: Call) -> None:
        """Add a job."""
        fields = _fields(await call.read_json())
        await self._answer(call, lambda: self._desk.create(fields), 201)

    async def get(self, call: Call) -> None:
        """One job."""
        await call.answer({"job": _shown(self._find(call))})

    async def edit(self, call: Call) -> None:
        """Change a job."""
        job_id = str(self._find(call)["id"])
        fields = _fields(await call.read_json())
        await self._answer(call, lambda: self._desk.edit(job_id, fields))

    async def remove(self, call: Call) -> None:
        """Delete a job."""
        job_id = str(self._find(call)["id"])
        self._desk.remove(job_id)
        await call.answer({"id": job_id, "deleted": True})

    async def pause(self, call: Call) -> None:
        """Let no occurrence run until resumed."""
        job_id = str(self._find(call)["id"])
        await self._answer(call, lambda: self._desk.pause(job_id))

    async def resume(self, call: Call) -> None:
        """Go on."""
        job_id = str(self._find(call)["id"])
        await self._answer(call, lambda: self._desk.resume(job_id))

    async def run(self, call: Call) -> None:
        """Run at once, beside the schedule."""
        job_id = str(self._find(call)["id"])
        await self._answer(call, lambda: self._desk.run_soon(job_id), 202)

    async def _answer(self, call: Call, change: Callable[[], Mapping[str, Any]], status: int = 200) -> None:
        try:
            job = change()
        except UsageError as error:
            raise bad_request(" ".join(error.lines)) from None
        await call.answer({"job": _shown(job)}, status)

    def _find(self, call: Call) -> Mapping[str, Any]:
        """Raises `ApiError` 404."""
        job_id = call.path_params["job_id"]
        for job in self._desk.all():
            if job.get("id") == job_id:
                return job
        raise not_found("job", job_id, param="job_id")


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body sets. Raises `ApiError`."""
    given: dict[str, Any] = {}
    for name, value in body.items():
        kinds = FIELDS.get(name)
        if kinds is None:
            raise bad_request(f"A job has no {name[:40]!r}; it has {', '.join(FIELDS)}", name[:40])
        if value is None:
            continue
        is_right = isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)
        if kinds == (list,) and is_right:
            is_right = all(isinstance(each, str) for each in value)
        if not is_right:
            raise bad_request(f"{name} is of the wrong kind", name)
        given[name] = value
    return given


def _shown(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in _SECRETLESS}
