"""Whatever a file holds, it is read, or refused with sentences."""

import re
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentd.config import files
from agentd.config.problems import Problems
from agentd.core.config import Config
from tests.examples import examples
from tests.unit.config.texts import write

WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        "jobs timezone history watch concurrency run when every at cron adaptive boot after manual start min max time "
        "days missed within useful file environment retries count backoff limits memory notify user a b <<",
    )
)
SCALARS = st.one_of(
    WORDS,
    st.sampled_from(["5min", "13:30", "UTC", "0", "-1", "010", "~", "", "1G", "mon-fri", "[", "*a", "&a x", "!!int 1"]),
    st.integers().map(str),
    st.text(max_size=20),
    st.text(max_size=20).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(WORDS | SCALARS, inner), max_size=5).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=20,
)
JOBS = st.lists(st.tuples(WORDS, TREES), min_size=1, max_size=4).map(
    lambda pairs: "jobs:\n  a:\n    run: x\n" + "".join(f"    {key}: {value}\n" for key, value in pairs)
)
FUZZ = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def expect_loaded_or_told(given: Path) -> None:
    try:
        loaded = files.load(given)
    except Problems as error:
        found = error.found
    else:
        assert isinstance(loaded.config, Config)
        return
    assert found
    for problem in found:
        assert problem.message.strip()
        assert problem.message.isprintable()


@FUZZ
@given(text=st.text(max_size=200))
@example(text="a: \r\x85\u2028\t[")
@example(text="&a [*a]: &b {*b : 1}")
@example(text="%YAML 2.0\n--- a")
@example(text="!!python/object/apply:os.system [ls]")
def test_any_text_is_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(text=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(file: Path, text: bytes) -> None:
    expect_loaded_or_told(write(file, text))


@FUZZ
@given(text=TREES)
def test_any_tree_is_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(text=JOBS)
def test_any_settings_of_a_job_are_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(main=JOBS | TREES, drop_in=JOBS | TREES)
def test_any_two_files_are_read_or_refused_together(file: Path, main: str, drop_in: str) -> None:
    write(file, main.encode(errors="surrogatepass"))
    write(file.parent / "conf.d" / "10.yaml", drop_in.encode(errors="surrogatepass"))
    expect_loaded_or_told(file.parent)
