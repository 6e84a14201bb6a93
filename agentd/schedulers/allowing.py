"""Root's word on schedulers of one's own: without it none is loaded, as who has kernel code loaded reads its memory."""

from pathlib import Path

ALLOWED = Path("/etc/agentd/custom-schedulers")


def forbidden(file: Path = ALLOWED, owner: int = 0) -> str:
    """Returns why no scheduler of one's own may be loaded on this machine, as a sentence; "": root allowed it."""
    try:
        by_owner = file.lstat().st_uid == owner
    except OSError:
        by_owner = False
    return "" if by_owner else f"root has not allowed schedulers of one's own on this machine: touch {file}"
