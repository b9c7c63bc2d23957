"""The route that puts a user's own tests to an answer, in the sandbox."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from jobs.judge_desk import read_asked
from jobs.serving.service import Service


def router(service: Service) -> APIRouter:
    """POST /judge."""
    made = APIRouter()

    @made.post("/judge")
    async def judge(request: Request) -> dict[str, Any]:
        """Put a user's own tests to an answer."""
        return asdict(await service.judges.judge(await read_asked(request)))

    return made
