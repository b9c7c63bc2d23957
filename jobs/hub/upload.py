"""A folder to the Hugging Face hub: what is there already is not sent again."""

import os
import re
from pathlib import Path
from typing import Any

from jobs.declared import UserError
from jobs.hub.models import unreachable


def check_target(repository: str) -> str:
    """The token to upload with, from HF_TOKEN only.

    Raises:
        UserError: the name is none of a repository, or there is no token.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"--hub {repository}: name it OWNER/NAME")
    token = os.environ.get("HF_TOKEN", "")
    if not token:
        raise UserError(
            f"--hub {repository}: set HF_TOKEN to a token that may write "
            "(https://huggingface.co/settings/tokens)"
        )
    return token


def upload(folder: Path, repository: str, message: str, *, public: bool) -> str:
    """Upload a folder to a repository of models, made where there is none; returns its address.

    Large files go first and the commit that names them last, so the repository never shows a half.
    Safe to repeat: what the hub has is not sent again. A repository that exists keeps its
    visibility.

    Args:
        folder: all files of it are uploaded; others of the repository stay.
        repository: `OWNER/NAME`.
        message: of the commit.
        public: whether everybody may see a repository that is made now.

    Raises:
        UserError: the hub refuses or cannot be reached, and what to do about it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    api = HfApi(token=check_target(repository))
    try:
        with disable_progress_bars():
            api.create_repo(repository, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
        seen = "private" if api.model_info(repository).private else "public"
    except Exception as error:  # sorted into what the user can do
        raise UserError(f"--hub {repository}: {_reason(error, api)}") from error
    return f"{api.endpoint}/{repository} ({seen})"


def _reason(error: BaseException, api: Any) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    cause = error
    while cause.__cause__ is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__
    again = "the same command goes on from there"
    if isinstance(cause, Exception) and (broken := unreachable(cause)):
        return f"{broken}; {again}"
    if not isinstance(cause, HfHubHTTPError):
        return f"{' '.join(str(cause).split())[:300]}; {again}"
    status = cause.response.status_code
    said = " ".join((cause.server_message or str(cause)).split())[:300]
    if status == 401:
        return f"HF_TOKEN is not valid; make one that may write at {api.endpoint}/settings/tokens"
    if status in (403, 404):
        return f"HF_TOKEN may not write there ({said}); use a token with that right, or your name"
    return f"the hub refuses with status {status}: {said}; {again}"
