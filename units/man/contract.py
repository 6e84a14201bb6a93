#!/usr/bin/python3
"""Turns the D-Bus contract into the source of its manual page: contract.py FILE... | scdoc > org.agentd1.5

The contract has a file for each interface. The page says what stands there: the members in their order, each with the
comment above it. The comment above a file's node is the page's description, the one above an interface introduces that.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from xml.dom.minidom import Comment, Element, Node, parse

ACTION = "org.agentd1.PolkitAction"
SIGNALS_CHANGE = "org.freedesktop.DBus.Property.EmitsChangedSignal"
CHANGES = {
    "true": "a change is signalled with the value",
    "invalidates": "a change is signalled without the value",
    "const": "never changes",
    "false": "changes are not signalled",
}
PLURAL = {"property": "Properties", "method": "Methods", "signal": "Signals"}


NAME = "org.agentd1"


def main(files: list[Path]) -> None:
    """Prints the page."""
    # The daemon's own interface first: its file has what holds for all.
    documents = [parse(str(file)) for file in sorted(files, key=lambda file: (file.parent.name != "daemon", file))]  # noqa: S318 - our own files
    nodes = [document.documentElement for document in documents]
    notes = [child for document in documents for child in document.childNodes if isinstance(child, Comment)]
    interfaces = [interface for node in nodes for interface in introduced(node)]
    print(f'{NAME}(5) "agentd" "agentd"\n')
    print(f"# NAME\n\n{NAME} - the D-Bus interface of agentd(8)\n")
    print("# SYNOPSIS\n")
    print(f"Bus name _{escaped(NAME)}_, object _{escaped(nodes[0].getAttribute('name'))}_, interfaces")
    names = [f"_{escaped(interface.getAttribute('name'))}_" for interface, _ in interfaces]
    print(", ".join(names[:-1]) + f" and {names[-1]}\n")
    print("# DESCRIPTION\n")
    for note in notes:
        print("\n".join(paragraphs(text_of(note))))
    for interface, note in interfaces:
        describe(interface, note)
    print(f"# FILES\n\n_/usr/share/dbus-1/interfaces/{NAME}.\\*.xml_")
    print("\tThe contract that this page was made of, a file for each interface.\n")
    print("# SEE ALSO\n\nagentctl(1), agentd(8), busctl(1)")


def introduced(node: Element) -> Iterator[tuple[Element, str]]:
    """The interfaces of a node, each with the comment above it, or ""."""
    note = ""
    for child in node.childNodes:
        if isinstance(child, Comment):
            note = text_of(child)
        elif isinstance(child, Element):
            yield child, note
            note = ""


def describe(interface: Element, note: str) -> None:
    """Prints an interface: what introduces it, then its members."""
    print(f"# INTERFACE {interface.getAttribute('name').upper()}\n")
    print("\n".join(paragraphs(note)))
    for kind, title in PLURAL.items():
        entries = list(described(interface, kind))
        if entries:
            print(f"## {title}\n")
        for heads, comment in entries:
            print("++\n".join(heads))
            print("\n".join(f"\t{line}" if line else "" for line in paragraphs(comment)))


def elements(parent: Element, kind: str) -> list[Element]:
    """The children of one kind, in their order."""
    return [child for child in parent.childNodes if child.nodeType == Node.ELEMENT_NODE and child.tagName == kind]


def annotations(member: Element) -> dict[str, str]:
    """What is noted about a member, by name."""
    return {note.getAttribute("name"): note.getAttribute("value") for note in elements(member, "annotation")}


def described(interface: Element, kind: str) -> Iterator[tuple[list[str], str]]:
    """The members of one kind with their comments; one without its own joins the one before when that names it."""
    heads: list[str] = []
    comment = last = ""
    for child in interface.childNodes:
        if isinstance(child, Comment):
            last = text_of(child)
        elif child.nodeType == Node.ELEMENT_NODE:
            if child.tagName == kind:
                if heads and (last or not re.search(rf"\b{child.getAttribute('name')}\b", comment)):
                    yield heads, comment
                    heads, comment = [], ""
                heads.append(head(child))
                comment = comment or last
                action = annotations(child).get(ACTION, "none")
                if action != "none" and action not in comment:
                    comment = f"{comment}\n\nPolkit action: {action}."
            last = ""
    if heads:
        yield heads, comment


def head(member: Element) -> str:
    """A member in one line: its name, its arguments with their types, or its type."""
    name = f"*{escaped(member.getAttribute('name'))}*"
    if member.tagName == "property":
        change = CHANGES[annotations(member).get(SIGNALS_CHANGE, "true")]
        return f"{name} {escaped(member.getAttribute('type'))} ({member.getAttribute('access')}; {change})"
    given: list[str] = []
    returned: list[str] = []
    for argument in elements(member, "arg"):
        text = f"{escaped(argument.getAttribute('type'))} _{escaped(argument.getAttribute('name'))}_"
        (returned if argument.getAttribute("direction") == "out" else given).append(text)
    return f"{name}({', '.join(given)})" + (f" -> {', '.join(returned)}" if returned else "")


def text_of(comment: Comment) -> str:
    """What a comment says, without the margin that its place in the file gives it."""
    first, _, rest = comment.data.partition("\n")
    return f"{first.strip()}\n{dedent(rest)}".strip()


def paragraphs(comment: str) -> Iterator[str]:
    """The text of a comment as scdoc: what is indented in it is indented, "term   meaning" becomes an entry."""
    flow, depth = "", 0
    for raw in [*comment.splitlines(), ""]:
        line = raw.strip()
        entry = re.match(r"(\w+(?:, \w+)*) {2,}(\S.*)", line)
        # The second line of a list's item is indented, too, and belongs to it.
        inner = 0 if flow.startswith("- ") and not entry else int(raw.startswith("  "))
        if flow and (not line or entry or line.startswith("- ") or inner != depth or flow.endswith(":")):
            yield from ("\t" * depth + escaped(flow), "")
            flow = ""
        if entry:
            yield from (f"\t*{escaped(entry[1])}*", f"\t\t{escaped(entry[2])}", "")
        elif line:
            flow, depth = f"{flow} {line}".strip(), inner


def escaped(text: str) -> str:
    """Taken as it is written, by scdoc."""
    return re.sub(r"([\\_*])", r"\\\1", text)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
