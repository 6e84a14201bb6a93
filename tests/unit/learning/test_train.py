"""The program that makes models: what is learnt foretells better, and what does not is not written."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from agentd.core.learning import weights
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import Row
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.weights import Model, Origin, parse, written

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import numpy as np
from sklearn.neural_network import MLPRegressor

from agentd.learning import fitting, synthetic, train

ROOT = Path(__file__).parents[3]
ORIGIN = Origin(rows=0, jobs=1, since=0, until=0, synthetic=False)
RATE, SPAN = 1 / 1800, 900.0


def drawn(count: int, seed: int = 0, hidden: float = 2.0) -> list[Row]:
    """Rows of a job whose changes come `hidden` times as often as counted while one feature is high, and so much more
    seldom while that is low."""
    random, rows = Random(seed), []
    for _ in range(count):
        inputs = [random.uniform(-1, 1) for _ in NAMES[1:]] + [0.5]  # the last feature is always the same
        rate = RATE * exp(log(hidden) * (1 if inputs[3] > 0 else -1))
        rows.append(Row(inputs, RATE, SPAN, random.random() < 1 - exp(-rate * SPAN)))
    return rows


def store(file: Path, rows: Sequence[Row], more: Sequence[object] = ()) -> Path:
    """A file of rows as agentd writes it, with `more` that are no rows."""
    told: list[object] = [
        (1_700_000_000_000_000 + number * 900_000_000, "a", row.rate, row.span, int(row.useful), text(row.features))
        for number, row in enumerate(rows)
    ]
    file.write_bytes(msgspec.json.encode([*told, *more]))
    return file


def text(features: list[float]) -> str:
    """The features as JSON."""
    return msgspec.json.encode(features).decode()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has synthetic histories that are soon replayed, by a process that finds agentd here as well."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(synthetic, "LENGTH", 4 * 86_400.0)
    monkeypatch.setattr(train, "_MIXED", 1)


@pytest.fixture(scope="module")
def learnt() -> Model:
    """A model of the hidden pattern."""
    return fitting.train(drawn(4000), origin=ORIGIN, made=7)


def test_a_hidden_pattern_is_found(learnt: Model) -> None:
    assert learnt.score.model < learnt.score.counted - 0.02
    assert (learnt.score.rows, learnt.origin.rows, learnt.made) == (800, 4000, 7)
    assert fitting.loss(learnt, drawn(4000)) == learnt.score.model
    assert fitting.loss(None, drawn(4000)) == learnt.score.counted
    assert parse(written(learnt), "model") == learnt


def test_the_same_rows_and_seed_give_the_same_model(learnt: Model) -> None:
    assert fitting.train(drawn(4000), origin=ORIGIN, made=7) == learnt
    assert fitting.train(drawn(4000), origin=ORIGIN, made=7, seed=1) != learnt


def test_an_input_that_was_always_the_same_counts_for_nothing(learnt: Model) -> None:
    network, inputs = weights.network(learnt), drawn(1)[0].features
    assert network.predict(inputs) == pytest.approx(network.predict([*inputs[:-1], -8.0]), abs=1e-12)


def test_learning_goes_on_from_a_model(learnt: Model) -> None:
    few, other = drawn(600, seed=5), drawn(4000, seed=6)
    on = fitting.train(few, origin=ORIGIN, made=0, first=learnt)
    assert (on.mean, on.scale) == (learnt.mean, learnt.scale)
    assert on.hidden != learnt.hidden
    assert fitting.loss(on, other) < fitting.loss(fitting.train(few, origin=ORIGIN, made=0), other)


def test_inference_is_that_of_scikit_learn() -> None:
    random = np.random.RandomState(3)
    inputs, mean, scale = random.randn(300, len(NAMES)), random.randn(len(NAMES)), random.rand(len(NAMES)) + 0.1
    network = MLPRegressor(hidden_layer_sizes=(32,), activation="tanh", max_iter=400, tol=1e-2, random_state=3)
    network.fit((inputs - mean) / scale, random.randn(300))
    own = Mlp(
        list(mean),
        list(scale),
        network.coefs_[0].T.tolist(),
        network.intercepts_[0].tolist(),
        network.coefs_[1][:, 0].tolist(),
        float(network.intercepts_[1][0]),
    )
    for line, expected in zip(inputs, network.predict((inputs - mean) / scale), strict=True):
        assert own.predict(line.tolist()) == pytest.approx(expected, abs=1e-9)


def test_too_few_rows_are_not_learnt_from() -> None:
    with pytest.raises(weights.Nothing, match="there are 499 rows to learn from: expected at least 500"):
        fitting.train(drawn(499), origin=ORIGIN, made=0)


def test_malformed_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    good, zeros = drawn(3), text([0.0] * len(NAMES))
    bad: list[object] = [
        (1, "a", RATE, SPAN, 1, "[1, 2]"),
        (1, "a", RATE, SPAN, 1, zeros[:-1] + ",0.0]"),
        (1, "a", RATE, SPAN, 1, zeros.replace("0.0", "9.0", 1)),
        (1, "a", RATE, SPAN, 1, zeros.replace("0.0", "true", 1)),
        (1, "a", RATE, SPAN, 1, zeros.replace("0.0", "NaN", 1)),
        (1, "a", RATE, SPAN, 1, "[" * 100_000),
        (1, "a", RATE, SPAN, 1, "\xff"),
        (1, "a", RATE, SPAN, 1, None),
        (1, "a", RATE, SPAN, 2, zeros),
        (1, "a", RATE, SPAN, None, zeros),
        (1, "a", RATE, 0.0, 1, zeros),
        (1, "a", RATE, -1.0, 1, zeros),
        (1, "a", RATE, 1e300, 1, zeros),
        (1, "a", True, SPAN, 1, zeros),
        (True, "a", RATE, SPAN, 1, zeros),
        (1, "a", RATE, SPAN, [], zeros),
        (1, "a", RATE, SPAN, 1, zeros, 0),
        (1, "a", RATE, SPAN, 1),
        {"at": 1},
        None,
        (1, "a", 0.0, SPAN, 1, zeros),
        (1, "a", "much", SPAN, 1, zeros),
        (1, None, RATE, SPAN, 1, zeros),
        (-1, "a", RATE, SPAN, 1, zeros),
        ("now", "a", RATE, SPAN, 1, zeros),
    ]
    found = train.read(store(tmp_path / "db", good, bad))
    assert found.rows == good
    assert found.malformed == len(bad)
    assert found.origin == Origin(rows=3, jobs=1, since=1_700_000_000, until=1_700_001_800, synthetic=False)


def test_a_better_model_is_written_and_the_rows_are_left_alone(tmp_path: Path, capsys: Any) -> None:
    result, database = tmp_path / "model.json", store(tmp_path / "db", drawn(4000), [(1, "a", RATE, SPAN, 1, None)])
    before = database.read_bytes()
    assert train.main(["--rows", str(database), "--result", str(result), "--told", str(tmp_path / "told")]) == 0
    told = capsys.readouterr()
    assert (tmp_path / "told").read_text() == told.out
    assert told.out.startswith("made from 4000 rows of 1 job; log loss 0.")
    assert told.err == f"1 row of {database} is malformed or of other features: left out\n"
    model = parse(result.read_bytes(), "model")
    assert model.score.model < model.score.counted
    assert database.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "db", "told"}


def test_a_model_worse_than_the_one_in_force_is_not_written(tmp_path: Path, capsys: Any) -> None:
    rows, result, old = drawn(2000), tmp_path / "model.json", tmp_path / "old.json"
    old.write_bytes(written(fitting.train(drawn(20_000, seed=9), origin=ORIGIN, made=0, most=20_000)))
    result.write_bytes(b"as before")
    arguments = ["--rows", str(store(tmp_path / "db", rows)), "--result", str(result)]
    assert train.main([*arguments, "--now-in-force", str(old)]) == 3
    assert "nothing was written: the model in force foretells better: log loss 0." in capsys.readouterr().err
    assert result.read_bytes() == b"as before"
    old.write_bytes(b"{}")  # a model that is damaged is no reason to stay without one
    assert train.main([*arguments, "--now-in-force", str(old)]) == 0
    assert "a new model is compared with the counted rate alone" in capsys.readouterr().err


def test_a_model_worse_than_the_counted_rate_is_not_written(tmp_path: Path, capsys: Any) -> None:
    rows = drawn(1000, hidden=4.0)
    database = store(tmp_path / "db", [*rows[:800], *drawn(200, seed=1, hidden=0.25)])  # the pattern has turned round
    code = train.main(["--rows", str(database), "--result", str(tmp_path / "model.json")])
    assert code == 3
    assert "nothing was written: the counted rate foretells better" in capsys.readouterr().err
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--rows", "{}/few", "--result", "{}/new"], 3, "nothing was written: there are 9 rows to learn from"),
        (["--rows", "{}/none", "--result", "{}/new"], 1, "no model was made: {}/none cannot be read"),
        (["--rows", "{}/text", "--result", "{}/new"], 1, "no model was made: {}/text: expected a JSON list of rows"),
        (["--rows", "{}/many", "--result", "{}/none/new"], 1, "the model could not be written to {}/none/new: No such"),
    ],
)
def test_the_exit_code_and_a_sentence_tell_why_not(
    tmp_path: Path, capsys: Any, arguments: list[str], code: int, told: str
) -> None:
    store(tmp_path / "few", drawn(9))
    store(tmp_path / "many", drawn(4000))
    (tmp_path / "text").write_text("these are no rows")
    assert train.main([one.format(tmp_path) for one in arguments]) == code
    assert told.format(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_where_the_replay_fails_there_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    program, result = tmp_path / "python", tmp_path / "model.json"
    program.write_text("#!/bin/sh\necho '['\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    result.write_bytes(b"as before")
    assert train.main(["--rows", str(store(tmp_path / "rows", drawn(600))), "--result", str(result)]) == 1
    told = (
        "no model was made: synthetic histories could not be replayed: the process ended with 7, expected 0; to see why"
    )
    assert capsys.readouterr().err.startswith(told)
    assert result.read_bytes() == b"as before"


def test_where_scikit_learn_is_missing_a_sentence_tells_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom agentd.learning import train\nassert 'numpy' not in sys.modules\n"
        "sys.modules['sklearn'] = None\nsys.exit(train.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--rows", str(store(tmp_path / "rows", drawn(600))), "--result", "never"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = "sklearn is not there: the model is made by scikit-learn (apt install python3-sklearn)"
    assert (done.returncode, done.stderr) == (1, f"no model was made: {told}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--synthetic"],
        ["--rows", "a", "--synthetic", "--result", "b"],
        ["--rows", "a", "--result", "b", "--seed", "-1"],
        ["--synthetic", "--result", "b", "--histories", "0"],
    ],
)
def test_bad_usage_is_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(arguments)
    assert ended.value.code == 2


def test_a_training_that_is_killed_leaves_the_old_model(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(b"old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom agentd.learning import train\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train._write(Path(sys.argv[1]), b'new' * 10000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == b"old"
    train._write(file, b"new")
    assert file.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["model.json"]


def test_synthetic_rows_are_the_same_each_time_and_tell_nothing_by_wishes() -> None:
    once = next(synthetic.rows(1, seed=3))
    assert once == next(synthetic.rows(1, seed=3))
    assert once != next(synthetic.rows(1, seed=4))
    place = NAMES.index("preference")
    values = [row.features[place] for row in once]
    assert min(values) >= -1
    assert max(values) <= 1
    assert len(set(values)) > len(values) / 2


def test_the_first_model_is_made_by_the_program(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    result = tmp_path / "model.json"
    assert train.main(["--synthetic", "--histories", "5", "--result", str(result)]) == 0
    model = parse(result.read_bytes(), "model")
    assert (model.made, model.origin.synthetic, model.origin.jobs) == (1234567890, True, 25)
    assert "25 of 25 histories replayed" in capsys.readouterr().err
