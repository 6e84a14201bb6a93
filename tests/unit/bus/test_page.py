"""The manual page of the D-Bus interface has every member of every interface."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[3]


def test_the_page_has_every_member_under_its_interface_and_the_conventions_first() -> None:
    files = sorted((ROOT / "agentd").glob("*/org.agentd1.*.xml"), reverse=True)
    command = [sys.executable, str(ROOT / "units/man/contract.py"), *map(str, files)]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    description, *sections = page.partition("# FILES")[0].split("\n# INTERFACE ")
    assert (
        description.index("# DESCRIPTION") < description.index("Conventions:") < description.index("*InvalidArgument*")
    )
    shown = {section.partition("\n")[0]: section for section in sections}
    assert next(iter(shown)) == "ORG.AGENTD1.MANAGER"
    for file in files:
        (interface,) = ET.parse(file).getroot()
        section = shown[interface.attrib["name"].upper()]
        members = [member.attrib["name"] for member in interface if "name" in member.attrib]
        assert [name for name in members if f"*{name}*" not in section] == []
    assert "*NoSuchJob, NoSuchRun*" in shown["ORG.AGENTD1.JOBS"]
