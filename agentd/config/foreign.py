"""Settings under other names: those of agentd's first drafts, and rules in a list in which each says its name.

    {"SelfAwareness": {"Rules": [{"Condition": ..., "Action": ..., "Priority": ...}]}}
    {"Scheduler": {"NightlyReboot": {"Enabled": ..., "Hour": ..., "Minute": ...}}}

are `rules` and `reboot.nightly`. Nodes keep their places, so that an error names the line that was written.
"""

from collections.abc import Callable, Mapping

from yaml import MappingNode, Node, ScalarNode, SequenceNode

_RULE = {"condition": "when", "action": "do", "priority": "priority", "name": "name"}
_NIGHTLY = {"enabled": "enabled", "hour": "hour", "minute": "minute"}
_TEXT, _MAPPING = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map"
Pair = tuple[Node, Node]


def translated(top: MappingNode) -> MappingNode:
    """Returns the settings of a file under the names that agentd has for them."""
    found: list[Pair] = []
    for key, value in top.value:
        word = key.value if isinstance(key, ScalarNode) else ""
        if word == "SelfAwareness" and isinstance(value, MappingNode):
            found += _moved(value, "Rules", lambda at, rules: (_called(at, "rules"), _rules(rules)))
        elif word == "Scheduler" and isinstance(value, MappingNode):
            found += _moved(value, "NightlyReboot", _nightly)
        elif word == "rules":
            found.append((key, _rules(value)))
        else:
            found.append((key, value))
    return MappingNode(top.tag, found, top.start_mark, top.end_mark)


def _moved(section: MappingNode, name: str, move: Callable[[Node, Node], Pair]) -> list[Pair]:
    """Returns what a section comes to: its setting of that name elsewhere; the others are unknown where they stand."""
    return [
        move(key, value) if isinstance(key, ScalarNode) and key.value == name else (key, value)
        for key, value in section.value
    ]


def _nightly(key: Node, value: Node) -> Pair:
    nightly = _renamed(value, _NIGHTLY)
    inner = MappingNode(_MAPPING, [(_called(key, "nightly"), nightly)], value.start_mark, value.end_mark)
    return _called(key, "reboot"), inner


def _rules(node: Node) -> Node:
    """Returns rules under agentd's names for their settings; those of a list that say their names become a mapping."""
    if isinstance(node, MappingNode):
        pairs = [(key, _renamed(rule, _RULE)) for key, rule in node.value]
        return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
    if not isinstance(node, SequenceNode):
        return node
    rules = [_renamed(rule, _RULE) for rule in node.value]
    names = [_taken(rule, "name") for rule in rules]
    if not any(names):
        return SequenceNode(node.tag, rules, node.start_mark, node.end_mark)
    pairs = [
        (name or _called(rule, str(position + 1)), rule)
        for position, (name, rule) in enumerate(zip(names, rules, strict=True))
    ]
    return MappingNode(_MAPPING, pairs, node.start_mark, node.end_mark)


def _taken(rule: Node, name: str) -> Node | None:
    """Takes a setting out of a mapping and returns its node; None where there is none."""
    if not isinstance(rule, MappingNode):
        return None
    for position, (key, value) in enumerate(rule.value):
        if isinstance(key, ScalarNode) and key.value == name:
            del rule.value[position]
            taken: Node = value
            return taken
    return None


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Returns a mapping with other names for its keys, in whatever case these are written."""
    if not isinstance(node, MappingNode):
        return node
    pairs = [
        (_called(key, names.get(key.value.lower(), key.value)) if isinstance(key, ScalarNode) else key, value)
        for key, value in node.value
    ]
    return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _called(place: Node, name: str) -> ScalarNode:
    """Returns a key of that name at the place of a node."""
    return ScalarNode(_TEXT, name, place.start_mark, place.end_mark)
