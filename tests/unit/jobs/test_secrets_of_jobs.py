"""agentctl check warns of secrets in the environment of jobs, which everybody on the machine can see."""

import pytest

from agentd.core.jobs.settings import doubts
from tests.unit.jobs.test_jobs import job


@pytest.mark.parametrize(
    "name",
    ["API_TOKEN", "PGPASSWORD", "db_passwd", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "BORG_PASSPHRASE", "APIKEY"],
)
def test_a_variable_that_looks_like_a_secret_is_told_without_its_value(name: str) -> None:
    (doubt,) = doubts({"sec": job("sec", environment={name: "s3cret", "LEVEL": "full"})})
    assert doubt == (
        f"jobs.sec.environment.{name} is for everybody on this machine to see: keep secrets in "
        "systemd: {LoadCredential: NAME:/PATH}, or in a file of the job's user"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD_FILE", "secret.txt"), ("TOKEN", "/run/token"), ("RESTIC_PASSWORD_COMMAND", "pass show it"),
        ("TOKEN", ""), ("SECRET_NAME", "backup"), ("LEVEL", "password"), ("PATH", "/usr/bin"),
    ],
)  # fmt: skip
def test_where_a_secret_is_may_be_said(name: str, value: str) -> None:
    assert list(doubts({"sec": job("sec", environment={name: value})})) == []
