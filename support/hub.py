# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Reaching the Hugging Face Hub: repositories that can be written to, folders that are uploaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reaching_hub(advice: str) -> Iterator[None]:
    """Around calls of the Hub: say that it cannot be reached, and what to do then (`advice`)."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"The Hub ({constants.ENDPOINT}) cannot be reached: {error} {advice}") from error


def check_repository(repo_id: str, private: bool, name: str, advice: str) -> None:
    """
    Make a repository for a model, before hours are spent on what nobody may upload.

    Args:
        repo_id (`str`): `"user/name"`.
        private (`bool`): Whether a new repository is private.
        name (`str`): What to call the setting that names it.
        advice (`str`): What to do where the Hub cannot be reached.

    Raises:
        ValueError: If the Hub refuses: no token, no rights, or a name it does not allow.
        ConnectionError: If it cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        with reaching_hub(advice):
            HfApi().create_repo(repo_id, private=private, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError) as error:
        raise ValueError(
            f"{name}={repo_id!r}: the Hub does not let this user write there ({error}). Log in with "
            "`hf auth login`, or name a repository of yours as USER/NAME."
        ) from error


def push_folder(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    repo_type: str = "model",
    message: str | None = None,
) -> str:
    """
    Upload a folder to the Hub, and make the repository if it does not exist.

    Args:
        folder (`str` or `Path`): What to upload.
        repo_id (`str`): `"user/name"`.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
        repo_type (`str`, *optional*, defaults to `"model"`): `"model"` or `"dataset"`.
        message (`str`, *optional*): Message of the commit.

    Returns:
        `str`: Address of the commit.

    Raises:
        ConnectionError: If the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api, kind = HfApi(), "" if repo_type == "model" else f"--repo-type {repo_type} "
    with reaching_hub(f"{folder} is complete: `hf upload {kind}{repo_id} {folder}` sends it later."):
        repo_id = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
        return api.upload_folder(
            folder_path=folder,
            repo_id=repo_id,
            repo_type=repo_type,
            commit_message=message or f"Upload {repo_type}",
        ).commit_url


__all__ = ["check_repository", "push_folder", "reaching_hub"]
