"""The options of the real programs (options.txt), and a help text that clap or getopt would print of them."""

from pathlib import Path

_FILE = Path(__file__).with_name("options.txt")
_TAIL = """
      --stats <STATS>
          Show figures at an interval; --no-such-option is not one

  -v, --verbose...
          Say more

  -h, --help
          Print help (see a summary with '-h')

Libbpf Options:
      --kconfig <KCONFIG>
          More of the kernel's configuration
"""


def listed() -> dict[str, list[str]]:
    """The words of each scheduler: -s/--slice-us=1000."""
    text = "\n".join(line for line in _FILE.read_text().splitlines() if not line.startswith("#"))
    found: dict[str, list[str]] = {}
    for word in text.split():
        if word.endswith(":"):
            words = found[word.removesuffix(":")] = []
        else:
            words.append(word)
    return found


def help_of(words: list[str]) -> str:
    """A help text with these options."""
    lines = ["Usage: scx_any [OPTIONS]", "", "Options:"]
    for word in words:
        names, _, default = word.partition("=")
        short, _, long = names.rpartition("/")
        if not long.startswith("--"):
            lines.append(f"  {long} COUNT      Whatever")
            continue
        lines.append(f"  {short}, {long} <VALUE>" if short else f"      {long} <VALUE>")
        lines.append("          Whatever it does, unlike --another-option")
        if default:
            lines += ["          ", f"          [default: {default.replace('_', ' ')}]"]
        lines.append("")
    return "\n".join(lines) + _TAIL
