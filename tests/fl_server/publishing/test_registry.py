from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_server.publishing import registry as registry_module
from fl_server.publishing.registry import Registry, RegistryError, ReleaseContents, open_release
from privacy.base.signing import Signer
from privacy.release.files import MODEL_FILE
from privacy.task.task import ModelSpec, ParameterSpec, TaskSpec
from tests.support.tasks import make_extrapolated_task, make_task

SIGNER = Signer.from_seed(bytes(range(32)))
LAYOUT = ModelSpec(
    architecture="test", parameters=(ParameterSpec(name="weight", shape=(2, 3)), ParameterSpec(name="bias", shape=(2,)))
)
HEAD = {"size": 3, "root": "ab" * 32}


def contents(start: float = 0.0, task: TaskSpec | None = None) -> ReleaseContents:
    weights = np.arange(8, dtype=np.float32) + np.float32(start)
    return ReleaseContents(task or make_task(model=LAYOUT), weights, {"threshold": "0.5"}, b"{}")


def test_published_model_comes_back_verified(tmp_path: Path) -> None:
    version = Registry(tmp_path).publish(contents(), HEAD, SIGNER)
    opened = open_release(tmp_path / "stable", SIGNER.public)
    np.testing.assert_array_equal(opened.weights, contents().weights)
    assert (opened.name, opened.card) == (version.name, {"threshold": "0.5"})
    assert opened.predicate == {"task": contents().task.id, "parent": None, "ledger": HEAD, "extrapolated": False}


def test_stable_moves_and_the_previous_release_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = registry.publish(contents(), HEAD, SIGNER)
    second = registry.publish(contents(1.0), HEAD, SIGNER)
    assert (tmp_path / "stable").readlink().name == second.name
    assert second.predicate["parent"] == first.name
    np.testing.assert_array_equal(open_release(first.path, SIGNER.public).weights, contents().weights)


def test_a_model_with_the_noise_of_a_fleet_is_never_stable(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    real = registry.publish(contents(), HEAD, SIGNER)
    extrapolated = registry.publish(contents(1.0, make_extrapolated_task(model=LAYOUT)), HEAD, SIGNER)
    assert (tmp_path / "stable").readlink().name == real.name
    assert (tmp_path / "extrapolated").readlink().name == extrapolated.name
    assert (extrapolated.predicate["parent"], extrapolated.predicate["extrapolated"]) == (None, True)


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.publish(contents(), HEAD, SIGNER)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    registry.publish(contents(), HEAD, SIGNER)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")} == before


def test_crash_before_the_pointer_moves_leaves_the_old_release_stable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    first = registry.publish(contents(), HEAD, SIGNER)

    def crash(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry_module, "sync_directory", crash)
    with pytest.raises(KeyboardInterrupt):
        registry.publish(contents(1.0), HEAD, SIGNER)
    assert open_release(tmp_path / "stable", SIGNER.public).name == first.name
    monkeypatch.undo()
    registry.publish(contents(1.0), HEAD, SIGNER)
    np.testing.assert_array_equal(open_release(tmp_path / "stable").weights, contents(1.0).weights)


@pytest.mark.parametrize("name", ["model.safetensors", "task.json", "card.json", "report.json"])
def test_one_changed_byte_in_any_file_is_noticed(tmp_path: Path, name: str) -> None:
    path = Registry(tmp_path).publish(contents(), HEAD, SIGNER).path / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RegistryError, match=f"{name} is not what key"):
        open_release(tmp_path / "stable", SIGNER.public)


def test_missing_files_and_other_keys(tmp_path: Path) -> None:
    version = Registry(tmp_path).publish(contents(), HEAD, SIGNER)
    with pytest.raises(RegistryError, match="not signed by key"):
        open_release(version.path, Signer.from_seed(bytes(32)).public)
    (version.path / MODEL_FILE).unlink()
    with pytest.raises(RegistryError, match="No such file"):
        open_release(version.path, SIGNER.public)
    with pytest.raises(RegistryError, match="expected a release directory"):
        open_release(tmp_path / "nothing")
