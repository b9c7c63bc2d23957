"""A dataset's recipe: its sources, and what is done to their rows."""

from typing import Any, Self

from pydantic import Field, model_validator

from jobs.data.contamination import Contamination
from jobs.data.duplicates import Duplicates
from jobs.data.execution import Execution
from jobs.data.filters import Filters
from jobs.data.origin import Source
from jobs.declared import Declared
from jobs.prompts import PromptForm, TooLong

DATA_VERSION = 1
"""Raised by hand when the same recipe would lead to other rows."""


class DatasetRecipe(Declared):
    """What stands in datasets/train/NAME.yaml."""

    description: str
    sources: dict[str, Source] = Field(min_length=1)
    prompt: PromptForm = "alpaca"
    """The text that a row becomes, in training and in asking."""
    too_long: TooLong = "drop"
    """What becomes of rows that are longer than a method's `max_length`."""
    filters: Filters = Filters()
    duplicates: Duplicates = Duplicates()
    contamination: Contamination = Contamination()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _plain_rows(self) -> Self:
        silent = [name for name, source in self.sources.items() if source.unit == "file"]
        if silent and self.prompt != "plain":
            raise ValueError(
                f"sources.{silent[0]} gives whole files, which answer no question; "
                "say prompt: plain, or unit: function"
            )
        return self

    def shaping(self) -> dict[str, Any]:
        """Everything that shapes the rows but names: what the id of a run hashes."""
        parts = ("filters", "duplicates", "contamination", "execution")
        return {
            "version": DATA_VERSION,
            "sources": [source.content() for source in self.sources.values()],
            **self.model_dump(mode="json", include=set(parts), exclude_defaults=True),
        }

    def text(self) -> dict[str, str]:
        """What makes text for a model of the same rows, where it is not the default."""
        chosen: dict[str, str] = self.model_dump(
            include={"prompt", "too_long"}, exclude_defaults=True
        )
        return chosen
