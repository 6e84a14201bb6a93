"""systemd's journal: the last lines that a unit wrote."""


def last_lines(invocation: str, number: int) -> list[str]:
    """Returns the last lines of a start of a unit, by its invocation id: at most so many, the oldest first, and none
    where agentd may not read them. Reading may take a while."""
    from systemd import journal  # noqa: PLC0415 - only where lines of a job are wanted

    if not invocation:
        return []
    try:
        with journal.Reader() as reader:
            reader.add_match(_SYSTEMD_INVOCATION_ID=invocation)
            reader.seek_tail()
            entries = [reader.get_previous() for _ in range(number)]
    except OSError:
        return []
    return [_text(entry.get("MESSAGE", "")) for entry in reversed(entries) if entry]


def _text(message: object) -> str:
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
