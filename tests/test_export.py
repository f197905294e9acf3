"""`export --to`: what TensorBoard, MLflow and RO-Crate's own readers find in what was written for them."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.command_line import run, said
from support.stored_studies import Result, store_study
from support.tiny_study import DIVERGING, submit_tiny

import mnistjobs
from jobs.errors import InputError
from jobs.store import Job, Store

GRID = """\
name: two
dataset: mnist
grid: {model: [mlp], subset_size: [500], adaptive_lr: [false], seeds: 2}
train: {epochs: 5}
"""
pytestmark = [
    pytest.mark.medium,
    pytest.mark.usefixtures("figures_drawn_once"),
    # The libraries' own; MLflow also leaves its database to the garbage collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    """Two seeds at two sizes, of two epochs."""
    return submit_tiny(tmp_path_factory.mktemp("export"), subset_size="[20, 30]")


def rows(store: Store) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mnistjobs.read_trials(store.root, "tiny").to_pylist()
    return found


def metrics_of(store: Store, trial_id: str) -> dict[str, list[Any]]:
    table = mnistjobs.read_metrics(store.root, "tiny")
    found: dict[str, list[Any]] = table.filter(pc.field("trial_id") == trial_id).to_pydict()
    return found


def test_tensorboard_reads_curves_results_and_settings(study: tuple[Store, Job], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    store, _ = study
    folder = tmp_path / "runs"
    printed = said("export", "tiny", "--to", "tensorboard", "--into", folder, "--store", store.root)
    assert printed == f"Wrote 6 runs to {folder}; look at them with `tensorboard --logdir {folder}`\n"
    reader = EventMultiplexer().AddRunsFromDirectory(str(folder))
    reader.Reload()
    assert len(reader.Runs()) == 6
    means: dict[str, list[float]] = {}
    for row in rows(store):
        group = f"mlp-{row['subset_size']}-fixed-{row['configuration_id']}"
        name = f"{group}/seed-{row['seed']}"
        own = metrics_of(store, row["trial_id"])
        for tag, column in (("validation/accuracy", "validation_accuracy"), ("train/loss", "train_loss")):
            found = reader.Scalars(name, tag)
            assert [each.step for each in found] == own["epoch"] == [1, 2]
            assert [each.value for each in found] == pytest.approx(own[column])
        (test,) = reader.Scalars(name, "test/accuracy")
        assert (test.step, test.value) == (2, pytest.approx(row["test_accuracy"]))
        assert test.wall_time == pytest.approx(row["finished_at"].timestamp())
        content = reader.SummaryMetadata(name, "_hparams_/session_start_info").plugin_data.content
        settings = HParamsPluginData.FromString(content).session_start_info.hparams
        assert settings["subset_size"].number_value == row["subset_size"]
        assert settings["model"].string_value == "mlp"
        assert settings["adaptive_lr"].bool_value is False
        means.setdefault(group, []).append(row["test_accuracy"])
    for group, values in means.items():
        (mean,) = reader.Scalars(f"{group}/mean", "test/accuracy")
        assert mean.value == pytest.approx(sum(values) / 2)


def test_mlflow_finds_every_trial_once(
    study: tuple[Store, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    store, job = study
    words = ("export", "tiny", "--to", "mlflow", "--into", tmp_path / "ml", "--store", store.root)
    assert said(*words).startswith(f"Wrote 4 runs to {tmp_path}/ml; look at them with `mlflow ui --backend-store-uri ")
    assert said(*words).startswith("Wrote 0 runs")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/ml/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = {run.data.tags["mnistjobs.trial_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert found.keys() == {row["trial_id"] for row in rows(store)}
    for row in rows(store):
        run = found[row["trial_id"]]
        assert (run.info.status, run.data.tags["mnistjobs.job_id"]) == ("FINISHED", job.job_id)
        assert run.data.params["subset_size"] == str(row["subset_size"])
        assert run.data.metrics["test/accuracy"] == pytest.approx(row["test_accuracy"])
        own = metrics_of(store, row["trial_id"])
        history = client.get_metric_history(run.info.run_id, "validation/loss")
        assert [each.value for each in history] == pytest.approx(own["validation_loss"])
        assert [each.step for each in history] == [1, 2]
    assert logging.getLogger("mlflow").level == logging.WARNING


def test_a_crate_describes_every_file_and_how_it_was_made(study: tuple[Store, Job], tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    store, job = study
    folder = tmp_path / "crate"
    assert said("export", "tiny", "--to", "ro-crate", "--into", folder, "--store", store.root).startswith("Wrote ")
    crate = ROCrate(folder)
    on_disk = {path.name for path in folder.iterdir()} - {"ro-crate-metadata.json"}
    assert {entity.id for entity in crate.data_entities} == on_disk
    assert {"grid.yaml", "trials.parquet", "summary.csv", "report.html", "learning-curve.svg"} <= on_disk
    assert (folder / "grid.yaml").read_text() == job.grid
    table = pq.read_table(folder / "trials.parquet")
    assert table.to_pylist() == rows(store)
    action = crate.dereference(f"#{job.job_id}")
    assert action.type == "CreateAction"
    assert action["instrument"]["name"] == "mnistjobs"
    assert {entity.id for entity in action["object"]} == {"grid.yaml", "#dataset"}
    assert {entity.id for entity in action["result"]} == on_disk - {"grid.yaml"}
    assert action["endTime"] == job.finished_at.isoformat() if job.finished_at else False
    assert action["actionStatus"].endswith("CompletedActionStatus")
    assert crate.root_dataset["conformsTo"].id.startswith("https://w3id.org/ro/wfrun/process/")
    assert crate.dereference("#dataset")["identifier"] == f"sha256:{job.dataset.fingerprint}"
    check_rules(json.loads((folder / "ro-crate-metadata.json").read_text()))


def check_rules(metadata: dict[str, Any]) -> None:
    """Assert what the specification demands of a description, which the reader above does not check."""
    entities = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(entities) == len(metadata["@graph"])
    assert "w3id.org/ro/crate/" in json.dumps(metadata["@context"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert {"name", "description", "datePublished", "hasPart", "conformsTo"} <= entities["./"].keys()
    assert all("@type" in entity for entity in entities.values())
    for entity in entities.values():
        for value in entity.values():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, dict) and not each["@id"].startswith("https://w3id.org/ro/crate/"):
                    assert each["@id"] in entities, f"{entity['@id']} refers to {each['@id']}, which is not described"


def test_a_diverged_trial_is_exported_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    store, _ = submit_tiny(tmp_path, seed="[0]", learning_rate=str(DIVERGING))
    assert mnistjobs.export_job(store.root, "tiny", "tensorboard", tmp_path / "tb") == 1  # and no mean
    assert mnistjobs.export_job(store.root, "tiny", "mlflow", f"sqlite:///{tmp_path}/x.db") == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/x.db")
    (found,) = client.search_runs(["1"])
    assert found.info.status == "FAILED"
    assert "test/accuracy" not in found.data.metrics


def test_failed_trials_are_runs_of_mlflow_only(tmp_path: Path) -> None:
    store, job = store_study(tmp_path, GRID, lambda trial: Result(ending="failed"))
    assert mnistjobs.export_job(store.root, job.job_id, "mlflow", tmp_path / "ml") == 2
    with pytest.raises(InputError, match="all trials failed before their first epoch; allowed: a job with results"):
        mnistjobs.export_job(store.root, job.job_id, "tensorboard", tmp_path / "tb")
    mnistjobs.export_job(store.root, job.job_id, "ro-crate", tmp_path / "crate")
    assert "http://schema.org/FailedActionStatus" in (tmp_path / "crate" / "ro-crate-metadata.json").read_text()


def test_diverged_trials_have_no_part_in_the_means(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    store, job = store_study(tmp_path, GRID, lambda trial: Result(ending="diverged" if trial.seed else "finished"))
    assert mnistjobs.export_job(store.root, job.job_id, "tensorboard", tmp_path / "tb") == 3
    reader = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tb"))
    reader.Reload()
    (name,) = (run for run in reader.Runs() if run.endswith("/mean"))
    (mean,) = reader.Scalars(name, "test/accuracy")
    assert mean.value == pytest.approx(mnistjobs.read_summary(store.root)["test_accuracy_mean"][0].as_py())
    assert len(reader.Scalars(name, "train/loss")) == 5


@pytest.mark.parametrize("words", [("--weights", ""), ("--to", "mlflow", "--into", "")])
def test_an_empty_name_is_no_folder(words: tuple[str, ...], study: tuple[Store, Job]) -> None:
    outcome = run("export", "tiny", *words, "--store", study[0].root)
    assert outcome.code == 2
    assert "a folder's name is empty" in " ".join(outcome.err.replace("│", "").split())


def test_a_command_that_is_shown_can_be_typed(study: tuple[Store, Job], tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    printed = said("export", "tiny", "--to", "tensorboard", "--into", folder, "--store", study[0].root)
    assert printed.endswith(f"look at them with `tensorboard --logdir '{folder}'`\n")


def test_a_trial_without_an_epoch_is_exported_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    grid = "name: tiny\ndataset: mnist\ngrid: {model: [cnn], subset_size: [2000], adaptive_lr: [false], seeds: 2}\n"
    store, job = store_study(tmp_path, grid, lambda trial: Result(ending="failed" if trial.seed else "finished"))
    assert mnistjobs.export_job(store.root, job.job_id, "tensorboard", tmp_path / "tb") == 2
    assert mnistjobs.export_job(store.root, job.job_id, "mlflow", f"sqlite:///{tmp_path}/x.db") == 2
    found = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/x.db").search_runs(["1"])
    assert sorted(run.info.status for run in found) == ["FAILED", "FINISHED"]


@pytest.mark.parametrize("tool", ["tensorboard", "ro-crate"])
def test_a_folder_with_other_files_is_refused(tool: str, study: tuple[Store, Job], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    outcome = run("export", "tiny", "--to", tool, "--into", tmp_path, "--store", study[0].root)
    assert (outcome.code, [path.name for path in tmp_path.iterdir()]) == (2, ["mine.txt"])
    assert outcome.err.startswith(f"{tmp_path}: is not an empty folder; allowed: a new one")


@pytest.mark.parametrize("words", [(), ("--weights", "w", "--to", "mlflow")])
def test_either_weights_or_a_tool_is_asked_for(words: tuple[str, ...], study: tuple[Store, Job]) -> None:
    outcome = run("export", "tiny", *words, "--store", study[0].root)
    assert outcome.code == 2
    assert "either --weights FOLDER or --to with a tool" in " ".join(outcome.err.replace("│", "").split())


def test_a_tracking_store_that_cannot_be_used_ends_in_one_message(study: tuple[Store, Job], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database")
    (tmp_path / "link").symlink_to("nowhere")
    places = ("nothing://x", f"sqlite:///{tmp_path}/file", "http://127.0.0.1:9")
    for place in (tmp_path / "file", tmp_path / "link", tmp_path / "what?", *places):
        outcome = run("export", "tiny", "--to", "mlflow", "--into", place, "--store", study[0].root)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(f"{place}: ")
        assert outcome.err.endswith("or the URI of a tracking store of MLflow\n")
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("tool", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("ro-crate", "rocrate")]
)
def test_without_its_library_the_extra_is_named(
    tool: str, module: str, study: tuple[Store, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    outcome = run("export", "tiny", "--to", tool, "--into", tmp_path / "x", "--store", study[0].root)
    assert outcome.code == 2
    assert outcome.err.endswith(f"run `pip install 'mnistjobs[{tool}]'`\n")
