"""Selectors: what a user may write, and the one line that answers a mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from usd_bench.errors import SelectorError
from usd_bench.selectors import Selection, checked, parse


def test_a_list_is_a_grid_and_commas_separate_selections() -> None:
    assert parse("burgers[order=[0,1]],ipm") == [
        Selection("burgers", {"order": "0"}),
        Selection("burgers", {"order": "1"}),
        Selection("ipm", {}),
    ]


def test_two_lists_make_every_combination() -> None:
    found = parse("s[a=[1,2],b=[x,y]]")
    assert [tuple(s.parameters.values()) for s in found] == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]


def test_spaces_do_not_matter() -> None:
    assert parse(" a [ x = 1 , y = [2, 3] ] , b ") == [*parse("a[x=1,y=2]"), *parse("a[x=1,y=3]"), *parse("b")]


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
            st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.integers(-9, 99).map(str), max_size=3),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_is_what_is_read(items) -> None:
    text = ",".join(f"{n}[{','.join(f'{k}={v}' for k, v in p.items())}]" if p else n for n, p in items)
    assert parse(text) == [Selection(name, parameters) for name, parameters in items]


@pytest.mark.parametrize(
    "text", ["", ",", "a[", "a]", "a[x]", "a[x=]", "a[=1]", "a[x=1,x=2]", "a[x=[]]", "[x=1]", "a[x=1]b", "a[x=[1]"]
)
def test_a_malformed_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse(text)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    order: int = Field(0, ge=0, le=3, description="which branch")


def test_values_are_checked_against_the_model_in_one_line() -> None:
    assert checked("p", Model, {"order": "2"}).order == 2
    with pytest.raises(SelectorError, match=r"p\[order=7\]: input should be less than or equal to 3 \(order: which"):
        checked("p", Model, {"order": "7"})
    with pytest.raises(SelectorError, match="did you mean 'order'"):
        checked("p", Model, {"ordr": "1"})
