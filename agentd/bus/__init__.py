"""D-Bus: the connection, the contract and the server of agentd's object."""

from urllib import parse

from agentd.light import named

# The library names elements of XML, which agentd never has it read, in annotations, and reads addresses, few of which
# have anything to unquote: 0.5 MiB.
with named(
    {
        "urllib.parse": {"unquote": lambda text: parse.unquote(text) if "%" in text else text},
        "xml.etree.ElementTree": {"Element": object},
    }
):
    import dbus_next  # noqa: F401
