"""The page "what is stored where and for how long" names every table, every retention period and its setting."""

from collections import Counter

import punchcard.store.engine  # noqa: F401  # its imports fill the metadata
from punchcard.operations.retention import DATA_SETS
from punchcard.operations.stored_data import STORED, reference_page
from punchcard.runtime.settings import read_settings
from punchcard.store.schema import metadata


def test_every_table_is_described_once() -> None:
    described = Counter(table for data in STORED for table in data.tables)
    assert described == Counter(metadata.tables.keys())


def test_what_may_name_persons_says_what_a_deletion_does_and_how_long_it_is_kept() -> None:
    assert [data.content for data in STORED if data.is_personal and not data.deletion] == []
    assert [data.content for data in STORED if bool(data.retained) == bool(data.data_set)] == []
    assert {data.data_set for data in STORED} <= {"", *(data_set.name for data_set in DATA_SETS)}


def test_every_period_has_a_setting_and_every_setting_a_period() -> None:
    assert set(read_settings({}).retention_days()) == {data_set.setting for data_set in DATA_SETS}


def test_the_page_has_every_table() -> None:
    page = reference_page()
    assert [table for table in metadata.tables if f"`{table}`" not in page] == []
