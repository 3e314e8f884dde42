"""What ``make dropin`` concludes from what it saw; the run itself is a target of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dropin.judge import Listed, function, judge, stale

ROOT = Path(__file__).parent.parent
LISTED = ROOT / "tests" / "dropin" / "divergences.toml"


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("t/a.py::BindTest::test_a[insert]", "t/a.py::BindTest::test_a"),
        ("t/a.py::BindTest_sqlite+pysqlite_3_40_1::test_a", "t/a.py::BindTest::test_a"),
        ("t/a.py::A_B_postgresql+psycopg_15_2::test_a[a::b-c]", "t/a.py::A_B::test_a"),
    ],
)
def test_a_test_is_known_by_its_function(test: str, expected: str) -> None:
    assert function(test) == expected


def test_judgement() -> None:
    listed = Listed({"a.py::T::test_known": "a reason"}, frozenset({"a.py::T::test_members"}))
    diverging = {"a.py::T::test_known[x]", "a.py::T::test_known[y]", "a.py::T::test_new[x]"}
    verdict = judge(diverging, listed)
    assert verdict.by_reason == {"a reason": {"a.py::T::test_known"}}
    assert verdict.unexplained == {"a.py::T::test_new"}
    assert verdict.enumerations == set()
    assert stale([verdict], listed) == {"a.py::T::test_members"}
    assert stale([verdict, judge({"a.py::T::test_members"}, listed)], listed) == set()


def test_too_many_reasons(tmp_path: Path) -> None:
    entry = '[[divergence]]\nreason = "{}"\ntests = []\n'
    path = tmp_path / "divergences.toml"
    path.write_text("enumerations = []\n" + "".join(entry.format(n) for n in range(11)))
    with pytest.raises(ValueError, match="11 reasons, at most 10"):
        Listed.load(path)


def test_the_documentation_lists_the_same() -> None:
    page = (ROOT / "docs" / "divergences.md").read_text()
    listed = Listed.load(LISTED)
    for name in [*listed.reasons, *listed.reasons.values(), *listed.enumerations]:
        assert name in page
    assert page.count("\n| ") - 1 == len(set(listed.reasons.values()))
