"""What `fl-sim` says to bad input: exit code 2, one line, the argument's name, and nothing written."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import time
from pathlib import Path

import pytest

from privacy.accounting.accountant import message_level_epsilon
from privacy.task.task import BoundedParticipation, LocalTraining
from simulations.config.config import RunConfig, load_config
from simulations.config.template import TEMPLATE
from simulations.runs import RunError
from simulations.runs.plan import plan_task, with_schedule
from simulations.runs.run import Outcome
from simulations.runs.rundir import RunDirectory
from tests.support.runs import GOOD, fl_sim, refused, small_config

SMALL = ["--devices", "40", "--cohort", "20", "--participation", "bounded"]
RAY = ["--user-column", "user", "--aggregation", "ideal", "--engine", "ray"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (GOOD, ["--text-column", "body"], "--text-column"),
        (GOOD, ["--label-column", "toxic"], "--label-column"),
        (GOOD, ["--user-column", "author"], "--user-column"),
        ("", ["--user-column", "user"], "--data"),
        ("user,text,label\n", ["--user-column", "user"], "--data"),
        (GOOD.replace(",1\n", ",maybe\n"), ["--user-column", "user"], "maybe"),
        (GOOD.replace(",1\n", ",0\n"), ["--user-column", "user"], "--label-column"),
        (GOOD, ["--user-column", "user", "--cohort", "1000"], "--cohort"),
        (GOOD, ["--user-column", "user", "--epsilon", "-1"], "privacy.epsilon"),
        (GOOD, ["--user-column", "user", "--delta", "1"], "privacy.delta"),
        (GOOD, ["--user-column", "user", "--clip", "0"], "privacy.clip"),
        (GOOD, ["--user-column", "user", "--clip", "nan"], "privacy.clip"),
        (GOOD, ["--user-column", "user", "--server-learning-rate", "0"], "server.learning_rate: expected `auto`"),
        (GOOD, ["--user-column", "user", "--server-learning-rate", "fast"], "server.learning_rate: expected `auto`"),
        (GOOD, ["--user-column", "user", "--momentum", "1"], "server.momentum"),
        (GOOD, ["--user-column", "user", "--shards", "0"], "server.shards"),
        (GOOD, ["--user-column", "user", "--buckets", "3"], "training.buckets"),
        (GOOD, ["--partition", "dirichlet:0"], "--partition"),
        (GOOD, ["--partition", "random"], "dirichlet:0.3"),
        (GOOD, [], "--user-column"),
        (GOOD, ["--user-column", "user", "--workers", "0"], "--workers"),
        (GOOD, ["--user-column", "user", "--rounds", "0"], "server.rounds"),
        (GOOD, ["--user-column", "user", "--participation", "random"], "privacy.participation"),
        (GOOD, ["--user-column", "user", "--engine", "gpu"], "engine"),
        (GOOD, ["--user-column", "user", "--aggregation", "none"], "server.aggregation"),
        (GOOD, ["--user-column", "user", "--engine", "vectorised"], "--aggregation ideal"),
        (GOOD, ["--user-column", "user", "--engine", "ray"], "--aggregation ideal"),
        (GOOD, ["--user-column", "user", "--ray-address", "head:6379"], "--engine ray"),
        (GOOD, [*RAY, "--ray-address", "ray://head:10001"], "HOST:PORT"),
    ],
)
def test_bad_input(tmp_path: Path, content: str, arguments: list[str], message: str) -> None:
    data, out = tmp_path / "chat.csv", tmp_path / "run"
    data.write_text(content)
    defaults = ["--user-column", "user"] if "column" in "".join(arguments) and "--user-column" not in arguments else []
    said = refused(fl_sim("run", "--data", data, "--out", out, "--cohort", "5", *defaults, *arguments))
    assert message in said
    assert "Traceback" not in said
    assert not out.exists()


def test_undecodable_bytes(tmp_path: Path) -> None:
    data = tmp_path / "chat.csv"
    data.write_bytes(GOOD.encode() + b"u1,caf\xe9,1\n")
    said = refused(fl_sim("run", "--data", data, "--user-column", "user", "--out", tmp_path / "run"))
    assert "--encoding" in said


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    path = small_config(tmp_path, extra="momentun = 0.9\n")
    said = refused(fl_sim("run", "--config", path, "--out", tmp_path / "run"))
    assert "server.momentun: unknown key" in said
    assert "momentum" in said


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('[data]\npath = "a\\u0000b.csv"\nuser_column = "u"', "data.path: expected the path"),
        (f"[data]\ndevices = {'[' * 3_000}{']' * 3_000}", "is not readable TOML"),
        ("[privacy]\nclip = 5e-324", "privacy.clip: "),
        (f"[privacy]\nmax_participations = {10**20}", "privacy.max_participations: "),
        (f"[server]\nstatistics_bound = {10**20}", "server.statistics_bound: "),
    ],
)
def test_what_no_file_should_hold(tmp_path: Path, config: str, message: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(config)
    assert message in refused(fl_sim("run", "--config", path, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_time_beyond_all_floats_is_none(tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text("".join(f'{{"text": "hello {i}", "label": {i % 2}, "at": 1{"0" * 400}}}\n' for i in range(9)))
    arguments = ["--partition", "time", "--time-column", "at", "--out", tmp_path / "run"]
    assert "--time-column: expected a number or a date" in refused(fl_sim("run", "--data", data, *arguments))


def test_a_value_where_a_section_belongs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("server = 3\n")
    assert "server: expected a section" in refused(
        fl_sim("run", "--config", path, "--cohort", "5", "--out", tmp_path / "run")
    )


def test_missing_config_and_run(tmp_path: Path) -> None:
    assert "fl-sim init" in refused(fl_sim("run", "--config", tmp_path / "no.toml"))
    assert "holds no run" in refused(fl_sim("run", "--resume", tmp_path))
    assert "leave out" in refused(fl_sim("run", "--resume", tmp_path, "--clip", "1"))


def test_unwritable_output() -> None:
    assert "--out" in refused(fl_sim("run", "--out", "/proc/nothing/run", *SMALL))


def test_a_run_that_goes_on_is_not_replaced(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", RunConfig(), force=False)
    with run.locked():
        assert "another process" in refused(fl_sim("run", "--force", "--out", run.path, *SMALL))
    assert list(run.path.glob("config.toml"))


def test_init_writes_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    assert fl_sim("init", path).exit_code == 0
    assert path.read_text() == TEMPLATE
    defaults = RunConfig().model_dump()
    defaults["privacy"]["epsilon"] = 8.0  # what a run without any privacy setting is calibrated to
    assert load_config(path, {}).model_dump() == defaults
    assert "exists" in refused(fl_sim("init", path))


def test_the_recipe_for_messages_is_the_template_with_both_epsilons_kept(tmp_path: Path) -> None:
    path = tmp_path / "private.toml"
    assert fl_sim("init", path, "--message-epsilon", "6", "--epsilon", "4", "--delta", "1e-6").exit_code == 0
    config = load_config(path, {})
    task = plan_task(with_schedule(config, 1_000), 1_000, "ab" * 32)
    assert isinstance(task.training, LocalTraining)
    assert isinstance(task.participation, BoundedParticipation)
    assert 5.9 < message_level_epsilon(task.training, task.participation.max_participations, 1e-6) <= 6
    assert (task.budget.epsilon, task.budget.delta) == (4.0, 1e-6)
    assert task.features.buckets == 1_024  # type: ignore[union-attr]
    changed = [
        line for line, own in zip(path.read_text().splitlines(), TEMPLATE.splitlines(), strict=True) if line != own
    ]
    assert [line.split(" = ")[0] for line in changed] == [
        "epsilon", "delta", "participation", "max_participations", "steps", "message_noise", "buckets", "rounds"
    ]  # fmt: skip
    guessed = tmp_path / "guessed.toml"
    assert fl_sim("init", guessed, "--message-epsilon", "6", "--base-rate", "0.125").exit_code == 0
    started = load_config(guessed, {})
    assert (started.training.base_rate, started.server.rounds) == (0.125, 1)
    assert "--message-epsilon" in refused(fl_sim("init", tmp_path / "no.toml", "--message-epsilon", "-1"))


def test_the_flags_of_the_schedule_reach_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunConfig] = []

    def start(config: RunConfig, out: Path, *, force: bool, workers: int | None) -> Outcome:  # noqa: ARG001
        asked.append(config)
        raise RunError("enough")

    monkeypatch.setattr("simulations.runs.start", start)
    flags = {"--server-learning-rate": "3.5", "--rounds": "7", "--cohort": "80", "--shards": "2", "--clip": "0.25"}
    more = {"--momentum": "0.5", "--buckets": "4096"}
    given = [word for flag in {**flags, **more}.items() for word in flag]
    assert fl_sim("run", "--out", tmp_path / "run", *given).exit_code == 1
    assert fl_sim("run", "--out", tmp_path / "run", "--server-learning-rate", "auto").exit_code == 1
    server = asked[0].server
    assert (server.learning_rate, server.rounds, server.cohort, server.shards, server.momentum) == (3.5, 7, 80, 2, 0.5)
    assert (asked[0].privacy.clip, asked[0].training.buckets) == (0.25, 4_096)
    assert asked[1].server == RunConfig().server


def test_run_then_score(tmp_path: Path) -> None:
    data, run, scores = tmp_path / "chat.csv", tmp_path / "run", tmp_path / "scores.csv"
    data.write_text(GOOD)
    config = small_config(tmp_path, rounds=2)
    result = fl_sim(
        "run", "--config", config, "--data", data, "--user-column", "user", "--cohort", "10", "--out", run,
        "--workers", "1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rounds"] == 2
    unlabelled = tmp_path / "new.csv"
    unlabelled.write_text('text\nhello\n""\nhello number 3\n')
    result = fl_sim("score", "--release", run / "release" / "stable", "--data", unlabelled, "--out", scores, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["without_text"] == 1
    rows = list(csv.DictReader(scores.open()))
    assert [row["row"] for row in rows] == ["0", "1", "2"]
    assert rows[1]["score"] == ""
    assert 0 <= float(rows[0]["score"]) <= 1
    result = fl_sim(
        "score", "--release", run / "release" / "stable", "--data", data, "--out", scores, "--json", "--force"
    )
    assert {"macro_f1", "auroc"} <= json.loads(result.stdout).keys()
    wrong = tmp_path / "other.pub"
    wrong.write_text("ab" * 32)
    said = refused(
        fl_sim(
            "score",
            "--release",
            run / "release" / "stable",
            "--data",
            data,
            "--out",
            tmp_path / "new",
            "--operator-key",
            wrong,
        )
    )
    assert "not signed by key" in said


def test_a_ray_address_that_does_not_answer(tmp_path: Path) -> None:
    """Nobody there, or somebody who says nothing: an error in 10 seconds, before anything is written."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        for address in ("127.0.0.1:1", silent):
            since = time.monotonic()
            said = refused(fl_sim("run", *RAY[2:], "--ray-address", address, "--out", tmp_path / "run"))
            assert time.monotonic() - since < 10
            assert f"--ray-address: no Ray cluster answers at {address}" in said
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of one round on `chat.csv` beside it, and what it said."""
    place = tmp_path_factory.mktemp("finished")
    (place / "chat.csv").write_text(GOOD)
    config = small_config(place, rounds=1)
    arguments = ["--user-column", "user", "--cohort", "10", "--aggregation", "central", "--workers", "1"]
    result = fl_sim("run", "--config", config, "--data", place / "chat.csv", *arguments, "--out", place / "run")
    assert result.exit_code == 0, result.output
    return place, result.stderr


@pytest.fixture
def place(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    shutil.copytree(finished[0], tmp_path / "place", symlinks=True)
    return tmp_path / "place"


def test_what_was_understood_of_the_data_is_shown_and_logged_without_messages(finished: tuple[Path, str]) -> None:
    where, said = finished
    log = (where / "run" / "run.log").read_text()
    for line in ("100 rows, cells between commas", "columns: user, text, label", "users: 20", "'0' 50 → not"):
        assert line in said
        assert line in log
    assert "row 1  not    'u0'  'hello number 0'" in said
    assert "hello number" not in log


def test_nothing_is_written_over_an_input(place: Path) -> None:
    """By whatever name, and whatever is forced: data, configuration, a folder of data, a release."""
    run, precious, data = place / "run", place / "run" / "inner.csv", place / "data" / "chat.csv"
    data.parent.mkdir()
    for path in (precious, data):
        path.write_text(GOOD)
    (place / "link").symlink_to(run)
    (place / "hard.csv").hardlink_to(data)
    inner = ["--user-column", "user", "--cohort", "5", "--force", "--out"]
    for out in (run, place / "link"):
        assert "inner.csv in it, which --data reads" in refused(fl_sim("run", "--data", precious, *inner, out))
        assert "which --config reads" in refused(
            fl_sim("run", "--config", run / "config.toml", "--force", "--out", out)
        )
    lies = refused(fl_sim("run", "--data", data.parent, *inner, data.parent / "out"))
    assert "all of which --data reads" in lies
    stable = run / "release" / "stable"
    score = ["score", "--release", stable, "--data", data, "--force", "--out"]
    for out, why in (
        (data, "is what --data reads"),
        (place / "hard.csv", "is another name of"),
        (stable / "model.safetensors", "lies in"),
        (stable, "is what --release reads"),
        (run / "release" / "scores.csv", "all of which --release reads"),
        (run / "ledger.db", "was not made by fl-sim score"),
        (run, "has"),
        (place, "has"),
    ):
        assert why in refused(fl_sim(*score, out)), out
    assert (precious.read_text(), data.read_text()) == (GOOD, GOOD)
    scores = place / "scores.csv"
    assert fl_sim(*score, scores).exit_code == 0
    assert "exists; give another path" in refused(fl_sim(*score[:-2], "--out", scores))
    assert fl_sim(*score, scores).exit_code == 0


@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_no_sweep_or_comparison_is_written_over_an_input(tmp_path: Path, command: str) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / f"{command}.toml").write_text("")
    config = small_config(made)
    assert "which CONFIG reads" in refused(fl_sim(command, config, "--force", "--out", made))
    (made / "chat.csv").write_text(GOOD)
    outside = small_config(tmp_path)
    outside.write_text(outside.read_text().replace("[data]", '[data]\npath = "made/chat.csv"\nuser_column = "user"'))
    assert "chat.csv in it, which --data reads" in refused(fl_sim(command, outside, "--force", "--out", made))
    assert (made / "chat.csv").read_text() == GOOD


def test_init_replaces_only_configurations_that_no_run_has(place: Path) -> None:
    data, run = place / "chat.csv", place / "run"
    assert "is no configuration of fl-sim" in refused(fl_sim("init", data, "--force"))
    assert "is a directory" in refused(fl_sim("init", place, "--force"))
    before = (run / "config.toml").read_text()
    assert "is the configuration of a run" in refused(fl_sim("init", run / "config.toml", "--force"))
    assert (run / "config.toml").read_text() == before
    mine = place / "mine.toml"
    mine.write_text("[server]\nrounds = 3\n")
    assert fl_sim("init", mine, "--force").exit_code == 0
    assert mine.read_text() == TEMPLATE


def test_paths_in_a_configuration_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "chat.csv").write_text(GOOD)
    config = small_config(tmp_path / "below", rounds=1)
    config.write_text(config.read_text().replace("[data]", '[data]\npath = "chat.csv"\nuser_column = "user"'))
    monkeypatch.chdir("/")
    loaded = load_config(config, {"privacy.ledger": "here.db"})
    assert loaded.data.path == (tmp_path / "below" / "chat.csv",)
    assert loaded.privacy.ledger == Path("/here.db")


def test_a_cohort_that_is_too_small_is_what_is_named(tmp_path: Path) -> None:
    config = small_config(tmp_path, extra="shards = 10\n")
    config.write_text(config.read_text().replace("min_survivors = 3\n", ""))
    said = refused(fl_sim("run", "--config", config, "--out", tmp_path / "run"))
    assert "--cohort: 20 devices in 10 shards are too few" in said
    assert "min_survivors" not in said
