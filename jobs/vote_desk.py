"""The route that takes votes of the try-it page; who may vote is for the page to know."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from database.live import Vote
from database.votes import cast, voted_runs
from jobs.serving.service import Service
from jobs.wire import MOST_CHARACTERS, error

MOST_ANSWERED = 200_000
"""Characters of an answer that a vote keeps."""

Run = Annotated[str, Field(min_length=1, max_length=12)]
Answer = Annotated[str, Field(max_length=MOST_ANSWERED)]


class VoteAsked(BaseModel):
    """Body of POST /votes."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern="^[0-9a-f]{32}$")
    """Made by the page, one for each two answers: sent again, a vote changes nothing."""
    run_a: Run
    run_b: Run
    choice: Literal["a", "b", "tie", "both_bad"]
    blind: bool
    """Whether the names were hidden until the vote."""
    instruction: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    answer_a: Answer
    answer_b: Answer
    """As far as they were written when the vote was made."""
    voter: str = Field(default="", max_length=200)

    @model_validator(mode="after")
    def _of_two_answers(self) -> Self:
        if self.run_a == self.run_b:
            raise ValueError("a vote is on the answers of two different runs")
        if not (self.answer_a + self.answer_b).strip():
            raise ValueError("neither model has answered yet, so there is nothing to vote on")
        return self


def router(service: Service) -> APIRouter:
    """POST /votes."""
    made = APIRouter()

    @made.post("/votes", response_model=None)
    def vote(asked: VoteAsked) -> JSONResponse:
        """Store a vote; the answer names the choice that is stored, which is the first."""
        known = voted_runs(service.ledger, [asked.run_a, asked.run_b])
        for run in (asked.run_a, asked.run_b):
            if run not in known:
                refused = error(f"no run {run!r} is in the ledger", "invalid_request_error")
                return JSONResponse(refused, 400)
        choice = cast(service.ledger, Vote(**asked.model_dump()))
        return JSONResponse({"id": asked.id, "choice": choice})

    return made
