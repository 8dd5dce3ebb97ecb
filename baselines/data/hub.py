"""The Hugging Face hub: files of a repository at one revision, taken from the local cache when they are there."""

from pathlib import Path

from baselines.errors import BaselineError, reason


def snapshot(repository: str, revision: str, patterns: list[str], kind: str = "model") -> Path:
    """The folder that holds the repository's matching files; its name is the commit. `kind` is "model" or "dataset".

    Raises BaselineError when neither the cache nor the hub has them.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision or None, repo_type=kind, allow_patterns=patterns))
    except Exception as error:  # the hub, its HTTP client and the file system have a tree of errors each
        raise BaselineError(
            f"{repository} is neither in the local Hugging Face cache nor on the hub: {reason(error)}",
            "name a folder that has it, fill the cache, or choose --scale demo",
        ) from error
