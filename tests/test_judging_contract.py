"""What shapes a verdict is said in full, and a wrong name is refused."""

import json
import sys

import pytest

from eval_sandbox.contract import Judging, Limits


def test_content_survives_json_and_names_everything():
    content = Judging(preamble="standard", limits=Limits(cpu_seconds=3.0)).content()

    assert json.loads(json.dumps(content)) == content
    assert content["preamble"] == "standard"
    assert content["extract"] == "none"
    assert content["limits"]["cpu_seconds"] == 3.0
    assert content["interpreter"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert content["isolation"] == "full"
    assert isinstance(content["judge_version"], int)


@pytest.mark.parametrize(
    "field, nearest", [("preamble", "standard"), ("extract", "fenced"), ("isolation", "full")]
)
def test_a_misspelt_name_is_refused_with_the_nearest(field, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        Judging(**{field: nearest[:-1]})


@pytest.mark.parametrize("field", sorted(Limits.__dataclass_fields__.keys() - {"test_seconds"}))
def test_a_limit_of_zero_is_refused_by_name(field):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})


def test_time_for_more_tests_is_in_the_contract_only_where_it_is_given():
    assert "test_seconds" not in Judging().content()["limits"]
    assert Judging(limits=Limits(test_seconds=1.5)).content()["limits"]["test_seconds"] == 1.5
    with pytest.raises(ValueError, match="test_seconds"):
        Limits(test_seconds=-1)
