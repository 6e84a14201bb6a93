"""The plugins of apprise: the one that a message needs, and no other."""

import json
import subprocess
import sys

from tests.unit.notices.servers import ROOT

URLS = {
    "ntfy://example.org/topic": True,
    "ntfys://example.org/topic": True,
    "NTFYS://example.org/topic": True,
    "discord://1234567890/abcdefghijk": True,
    "mailto://u:p@example.org": True,
    "mailtos://u:p@example.org": True,
    "tgram://123456789:abcdefg_hijklmnop/123": True,
    "pover://user@token": True,
    "json://example.org": False,
    "https://discord.com/api/webhooks/123/abc": False,
    "base://example.org": False,
    "nothing://example.org": False,
    "no url": False,
}
"""Whether the file of the plugin is told by the schema."""
PROGRAM = """
import json, sys
import apprise.plugins
from agentd.notices import posting

def made(url):
    service = posting._service(url, "normal")
    return [type(service).__name__, len(apprise.plugins.N_MGR)]

def found(url):
    apprise.plugins.N_MGR.unload_modules()
    return made(url)

urls = json.loads(sys.argv[1])
alone = {url: found(url) for url in urls}
apprise.plugins.N_MGR.unload_modules()
apprise.plugins.N_MGR.load_modules()
print(json.dumps([alone, {url: made(url) for url in urls}]))
"""


def test_the_plugin_of_a_schema_is_loaded_alone_and_is_the_one_that_apprise_finds_among_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(URLS))],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    alone, among_all = json.loads(done.stdout)
    assert {url: name for url, (name, _) in alone.items()} == {url: name for url, (name, _) in among_all.items()}
    assert {url: count == 1 for url, (_, count) in alone.items()} == URLS
    assert min(count for _, count in among_all.values()) > 100
    assert alone["discord://1234567890/abcdefghijk"][0] == "NotifyDiscord"
    assert alone["no url"][0] == "NoneType"
