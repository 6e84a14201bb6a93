"""The units that restart others for rules: root's generator writes one for each unit that `may_restart` names, and
agentd may start just these."""

from collections.abc import Iterable, Iterator


def unit(restarted: str) -> str:
    """Returns the name of the unit that restarts another; every character of a unit's name is valid there as it is."""
    return f"agentd-restart@{restarted}.service"


def units(may_restart: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields the name and the text of every unit that the setting asks for."""
    for one in dict.fromkeys(may_restart):
        yield unit(one), _text(one)


def _text(restarted: str) -> str:
    # Quoted as systemd reads it: the only character of a unit's name that means anything there is the backslash.
    word = restarted.replace("\\", "\\\\")
    return "\n".join([
        "# Written by agentd-generator from may_restart in agentd's configuration (man agentd.yaml).",
        "[Unit]",
        f"Description=Restart {restarted} for a rule of agentd",
        "Documentation=man:agentd.yaml(5)",
        # agentd decides how often.
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=oneshot",
        f'ExecStart=:/usr/bin/systemctl restart -- "{word}"',
        "TimeoutStartSec=3min",
        "StandardInput=null",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "",
    ])  # fmt: skip
