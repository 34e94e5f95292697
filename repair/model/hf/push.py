"""Upload of a folder to the Hugging Face Hub."""

import pathlib
import re

from huggingface_hub import HfApi

from repair.errors import UserError, brief
from repair.tasks.files import HUB_NAME


def check_login(name: str) -> None:
    """Check that the Hub can be reached, and that someone is logged in there.

    Raises:
      UserError: Neither, or the name is not OWNER/NAME.
    """
    if not re.fullmatch(HUB_NAME, name):
        raise UserError(f"--push={name}: expected OWNER/NAME, as on the Hub")
    try:
        HfApi().whoami()
    except Exception as error:  # of several libraries
        raise UserError(
            f"--push={name}: the Hugging Face Hub cannot be used ({brief(error)}); log"
            " in with `hf auth login`, or export without --push where there is no"
            " network"
        ) from error


def push_folder(folder: pathlib.Path, name: str) -> str:
    """Upload a folder as a model, public unless the Hub has it as private; its address.

    Raises:
      UserError: The Hub refuses it, or ends the connection.
    """
    api = HfApi()
    try:
        url = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder)
    except Exception as error:  # of several libraries
        raise UserError(
            f"{folder} is whole, but cannot be uploaded as {name} ({brief(error)});"
            f" once that is mended, run `hf upload {name} {folder}`"
        ) from error
    return str(url)
