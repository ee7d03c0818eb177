"""What a server shows beside what checks ask for never keeps a version from being judged, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.domain.evidence.evidence import Dataset
from reconciler.registry.facts import run_facts
from reconciler.registry.versions import version_facts

INFO = {"run_id": "r1", "status": "FINISHED", "experiment_id": "0"}
PLAIN = {"info": INFO, "data": {"metrics": [{"key": "auc", "value": 0.5, "step": 1, "timestamp": 2}]}}


@pytest.mark.parametrize("odd", [None, "x", 7, {}, [None], ["x", 7], [{}], [{"key": None}], [[]], {"a": []}])
def test_a_list_that_is_none_is_read_as_far_as_it_is_one(odd: Any) -> None:
    for row in (
        {**PLAIN, "data": {**PLAIN["data"], "params": odd, "tags": odd}},
        {**PLAIN, "inputs": odd},
        {**PLAIN, "inputs": {"dataset_inputs": odd}},
        {**PLAIN, "inputs": {"dataset_inputs": [{"dataset": odd, "tags": odd}]}},
    ):
        facts = run_facts(row)
        assert facts.metrics["auc"].text == "0.5"
        assert (facts.user, facts.git_commit, facts.source_name) == (None, None, None)


def test_an_older_client_names_the_user_in_the_info_of_the_run() -> None:
    facts = run_facts({**PLAIN, "info": INFO | {"user_id": "ada"}})
    assert facts.user is not None
    assert facts.user.head == "ada"


def test_a_dataset_is_read_with_what_it_was_used_for() -> None:
    tags = [{"key": "mlflow.data.context", "value": "training"}, {"key": "other", "value": "x"}]
    given = [{"dataset": {"name": "d", "digest": "1", "schema": "{}"}, "tags": tags}, {"dataset": {"name": "e"}}]
    facts = run_facts({**PLAIN, "inputs": {"dataset_inputs": given}})
    assert facts.datasets == (Dataset("d", "1", "training"), Dataset("e", "", ""))


@pytest.mark.parametrize(("at", "read"), [("17", 17), (17, 17), (None, None), ("x", None), (0, None), (1e400, None)])
def test_a_time_of_creation_is_a_number_or_not_there(at: Any, read: int | None) -> None:
    assert version_facts({"creation_timestamp": at}).creation_timestamp == read
