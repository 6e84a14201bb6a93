"""The source of the machine's power: /sys/class/power_supply."""

from pathlib import Path

from msgspec import Struct

FOLDER = "sys/class/power_supply"
_LONGEST = 64  # characters of a file
_MOST = 64  # supplies


class Power(Struct, frozen=True):
    """The machine's power: `source` is ac, battery, or unknown, which `why` explains."""

    source: str
    why: str = ""


def read(root: Path = Path("/")) -> Power:
    """Returns where the machine's power comes from now.

    A supply of a device such as a mouse does not count. A mains supply that is online decides; else a battery that
    discharges; then a USB supply, which may be online although the machine itself feeds it.
    """
    try:
        supplies = sorted((Path(root) / FOLDER).iterdir())[:_MOST]
    except FileNotFoundError:
        supplies = []
    except OSError as error:
        return Power("unknown", f"/{FOLDER} cannot be read: {error.strerror}")
    counted = [supply for supply in supplies if _text(supply / "scope") != "Device"]
    mains, usb, wireless, batteries = (
        [_text(supply / tells) for supply in counted if _text(supply / "type") == kind]
        for kind, tells in (("Mains", "online"), ("USB", "online"), ("Wireless", "online"), ("Battery", "status"))
    )
    if "1" in mains:
        return Power("ac")
    if "Discharging" in batteries:
        return Power("battery")
    if any(online in {"1", "2"} for online in usb + wireless):  # 2: online with a voltage of its own
        return Power("ac")
    if batteries and "0" in mains:
        return Power("battery")
    if not (mains or usb or wireless or batteries):
        return Power("unknown", "this machine tells of no power supplies")
    return Power("unknown", "the power supplies do not tell which of them feeds the machine")


def _text(path: Path) -> str:
    """Returns what a file of a supply holds; "" where there is none, or the supply does not tell just now."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace").strip()
    except OSError:
        return ""
