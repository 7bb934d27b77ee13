"""One list of properties that every model must pass, and what the trainer refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.catalogue import standard
from features.declare.entity import TICKET
from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import col
from infra.company.company import Company
from infra.models.arrays import Floats
from infra.models.encoding import encode
from infra.models.manifest import Feature, Manifest
from infra.models.predictors import load_predictors
from infra.models.scorer import Scorer
from infra.state_files import digest_of
from rapport_feast.errors import Rejected
from tests.models.data import TYPES, made_up, made_up_log
from training.data.dataset import encode_frame, learn_features, to_slice
from training.data.hindsight import refuse_leakage
from training.data.labels import NO_ORDER, labels_of
from training.data.split import Split, time_split
from training.evaluation.baselines import best_action, logistic_baseline
from training.evaluation.evaluate import evaluate_policy, evaluate_scores
from training.experiment import greedy_actions
from training.gate import Decision, judge
from training.recipes.catalogue import recipe_named, recipes_of
from training.recipes.learner import Learner, Slice

SEEDS = range(5)
COMPANY = Company(name="made_up", title="Made up", sources=())
LABELS = labels_of(COMPANY)


def rows_of(name: str, seed: int = 0, *, shuffled: bool = False) -> pd.DataFrame:
    make = made_up_log if name == "next_best_action" else made_up
    return make(seed=seed, shuffled=shuffled)


def slices_of(rows: pd.DataFrame) -> tuple[tuple[Feature, ...], Slice, Slice, Slice]:
    split = time_split(rows)
    features = learn_features(TYPES, split.train)
    train, calibration, test = (
        to_slice(part, features, "customer_id") for part in (split.train, split.calibration, split.test)
    )
    return features, train, calibration, test


def fitted(name: str, rows: pd.DataFrame) -> tuple[Learner, Slice, Slice]:
    _, train, calibration, test = slices_of(rows)
    return recipe_named(COMPANY, name)().fit(train, calibration), train, test


def judged(model: Learner, train: Slice, test: Slice, incumbent: Floats | None = None) -> Decision:
    predicted = model.predict(test.x)
    if model.actions:
        return judge(evaluate_policy(test, greedy_actions(model.actions, predicted), best_action(train)))
    baselines = {"majority": np.full(len(test), train.y.mean()), "logistic": logistic_baseline(train, test)}
    return judge(evaluate_scores(test, predicted, baselines, incumbent))


@pytest.fixture(params=sorted(recipes_of(COMPANY)), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trained(name: str) -> tuple[Learner, Slice, Slice]:
    return fitted(name, rows_of(name))


def test_the_same_rows_give_the_same_bytes(name: str, trained: tuple[Learner, Slice, Slice], tmp_path: Path) -> None:
    digests = []
    for i, model in enumerate((trained[0], fitted(name, rows_of(name))[0])):
        folder = tmp_path / str(i)
        folder.mkdir()
        digests.append([digest_of(folder / file) for file in model.save(folder)])
    assert digests[0] == digests[1]


def test_its_predictions_differ_between_rows(trained: tuple[Learner, Slice, Slice]) -> None:
    model, _, test = trained
    assert np.ptp(model.predict(test.x), axis=0).min() > 0.01


def test_it_passes_the_gate_on_rows_with_a_signal(trained: tuple[Learner, Slice, Slice]) -> None:
    decision = judged(*trained)
    assert decision.passed, decision.reason


def test_it_takes_missing_values_and_unknown_categories(name: str, trained: tuple[Learner, Slice, Slice]) -> None:
    model, features = trained[0], slices_of(rows_of(name))[0]
    unknown = rows_of(name).head(3).assign(customer__plan__365d="never seen")
    unknown.loc[:, ["customer__spend__30d", "customer__negative__30d"]] = np.nan
    x = encode_frame(unknown, features)
    assert np.isnan(x[:, -1]).all()
    assert np.isfinite(model.predict(x)).all()


def scorer_of(name: str, model: Learner, features: tuple[Feature, ...], folder: Path) -> Scorer:
    """Return the model as the service reads it: from its files, by its manifest."""
    contents = {file: (folder / file).read_bytes() for file in model.save(folder)}
    assert sorted(contents) == sorted(path.name for path in folder.iterdir())
    manifest = Manifest(
        name=name, version="1", recipe=name, entity="customer", kind=model.kind, features=features,
        files=dict.fromkeys(contents, "0" * 64), actions=model.actions, calibration=model.calibration, metric="auc",
        value=0.7, interval=(0.6, 0.8), baseline=0.5, rows=100, night="2026-09-30",
        trained_at="2026-10-01T00:00:00+00:00", run_id="none", dataset_digest="0" * 64,
    )  # fmt: skip
    # Through JSON, as it is published.
    manifest = Manifest.model_validate_json(manifest.model_dump_json())
    return Scorer(manifest, "0" * 64, load_predictors(manifest, contents))


def test_training_and_serving_give_the_same_number(
    name: str, trained: tuple[Learner, Slice, Slice], tmp_path: Path
) -> None:
    rows, features = rows_of(name), slices_of(rows_of(name))[0]
    rows.loc[rows.index[:3], "customer__plan__365d"] = "never seen"
    rows.loc[rows.index[3:6], ["customer__orders__30d", "customer__plan__365d"]] = pd.NA
    scorer = scorer_of(name, trained[0], features, tmp_path)
    expected = trained[0].predict(encode_frame(rows, features))
    columns = rows[[feature.name for feature in features]]
    plain = columns.astype(object).where(columns.notna(), None).to_numpy().tolist()
    np.testing.assert_array_equal(encode(plain, features), encode_frame(rows, features))
    # The service scores a few rows at a time.
    for start in (0, 7, len(rows) - 1):
        served = plain[start : start + 5]
        if trained[0].actions:
            answered: object = [[values[a] for a in trained[0].actions] for values in scorer.action_values(served)]
        else:
            answered = scorer.scores(served)
        np.testing.assert_array_equal(answered, expected[start : start + 5])


def test_categories_and_numbers_are_encoded_as_ever(name: str) -> None:
    """By hand, column by column, as a stranger to the encoder would do it."""
    rows, features = rows_of(name), slices_of(rows_of(name))[0]
    rows.loc[rows.index[:3], "customer__plan__365d"] = "never seen"
    for column, feature in zip(encode_frame(rows, features).T, features, strict=True):
        if feature.dtype == "string":
            places = {"basic": 0.0, "plus": 1.0, "pro": 2.0}
            expected = np.array([places.get(word, np.nan) for word in rows[feature.name]])
        else:
            expected = rows[feature.name].astype("Float64").to_numpy("float64", na_value=np.nan)
        np.testing.assert_array_equal(column, expected)


def test_a_frame_without_rows_is_encoded() -> None:
    features = slices_of(made_up())[0]
    assert encode_frame(made_up().head(0), features).shape == (0, len(features))


def test_its_importance_names_every_feature(trained: tuple[Learner, Slice, Slice]) -> None:
    gains = trained[0].importance()
    assert gains.shape == (len(TYPES),)
    assert gains.argmax() != list(TYPES).index("customer_messages_1a2b3c4d:customer__noise__30d")


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_labels_have_no_champion(name: str, seed: int) -> None:
    decision = judged(*fitted(name, rows_of(name, seed, shuffled=True)))
    assert not decision.passed
    assert "does not beat" in decision.reason or "the model is constant" in decision.reason


def test_a_worse_challenger_does_not_replace_the_incumbent() -> None:
    model, train, test = fitted("churn", made_up())
    truth = 0.9 * test.y + 0.05
    decision = judged(model, train, test, incumbent=truth)
    assert not decision.passed
    assert "worse than the incumbent" in decision.reason


def test_calibration_keeps_the_order(trained: tuple[Learner, Slice, Slice]) -> None:
    model, _, test = trained
    if model.calibration is not None:
        assert model.calibration.a > 0
        assert (model.predict(test.x) > 0).all()
        assert (model.predict(test.x) < 1).all()


@pytest.mark.row("R23")
def test_a_random_split_is_refused() -> None:
    with pytest.raises(Rejected, match="split: expected time"):
        time_split(made_up(), how="random")


def test_no_label_window_reaches_into_the_test_slice() -> None:
    rows = made_up()
    split = time_split(rows)
    starts = split.test["event_time"].min()
    assert (split.train["label_end"] < starts).all()
    assert (split.calibration["label_end"] < starts).all()
    assert split.train["event_time"].max() < split.calibration["event_time"].min()
    assert len(split.train) + len(split.calibration) + len(split.test) < len(rows)
    assert min(len(split.train), len(split.calibration), len(split.test)) > 0
    again = Split.of(split.joined())
    assert [len(part) for part in (again.train, again.calibration, again.test)] == [
        len(part) for part in (split.train, split.calibration, split.test)
    ]


@pytest.mark.parametrize("column", ["sla_met", "resolved_at", "closed_code", "made_sla"])
def test_a_column_of_hindsight_is_refused_as_input(column: str) -> None:
    # Declared, it does not even load; by name, the label refuses it.
    with pytest.raises(Rejected, match=column):
        Group(
            "spoiled", "knows how it ended", "tests", "service", TICKET, "ticket_events",
            (Measure("kept", "count", ("7d",), where=col(column).isnull(), meaning="what it ended with"),),
        )  # fmt: skip
    for label in LABELS.values():
        with pytest.raises(Rejected, match=column):
            refuse_leakage(label, [f"unknown_view:ticket__{column}__7d"], ())


def test_a_label_is_not_its_own_input() -> None:
    with pytest.raises(Rejected, match="no_order"):
        refuse_leakage(NO_ORDER, ["customer_orders_1a2b3c4d:no_order"], standard().groups)


def test_the_catalogue_reads_no_hindsight() -> None:
    for label in LABELS.values():
        refuse_leakage(label, [ref for group in standard().groups for ref in group.refs()], standard().groups)


def test_a_long_horizon_spaces_its_spine() -> None:
    assert NO_ORDER.with_options({"horizon_days": 90}).every == 21
    assert NO_ORDER.with_options({"horizon_days": 30}).every == 7
    assert replace(NO_ORDER, every=1).with_options({}).every == 1
