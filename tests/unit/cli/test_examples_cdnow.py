"""The CDNOW example: real purchases become a CSV that `punchcard import` reads, with nothing lost or rounded."""

import csv
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from punchcard.cli.importing.rows import EventRow, open_rows

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "examples" / "cdnow_to_csv.py"
# The data set is not ours to hand on: it lies beside a checkout, or where the variable says.
REAL_FILE = Path(os.environ.get("CDNOW_MASTER", ROOT.parent / "shared" / "data" / "CDNOW_master.txt"))

EXCERPT = (
    " customer_id  date number_of_cds  dollar_value\r\n"
    " 00011 19970101  1   11.70\r\n"
    " 00012 19980630  2   0.00\r\n"
    " 00012 19980630  2   0.00\r\n"
)


def convert(source: Path, target: Path) -> Path:
    with target.open("w") as output:
        subprocess.run([sys.executable, str(SCRIPT), str(source)], stdout=output, check=True)
    return target


def test_each_line_is_one_order_with_an_id_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "excerpt.txt"
    source.write_bytes(EXCERPT.encode())
    reader = open_rows(convert(source, tmp_path / "orders.csv"))
    rows = [row.members for row in reader.rows(after=0) if isinstance(row, EventRow)]
    reader.close()
    assert [row["properties"]["order_id"] for row in rows] == ["cdnow-00002", "cdnow-00003", "cdnow-00004"]
    assert [row["messageId"] for row in rows] == ["cdnow-00002", "cdnow-00003", "cdnow-00004"]
    assert (rows[0]["event"], rows[0]["userId"]) == ("Order Completed", "cdnow-00011")
    assert rows[0]["timestamp"] == "1997-01-01T12:00:00Z"
    assert rows[0]["properties"]["email"] == "customer00011@example.com"
    assert bytes(rows[0]["properties"]["revenue"]) == b"11.70"


@pytest.fixture(scope="module")
def real_orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REAL_FILE.exists():
        pytest.skip("the CDNOW data set is not here")
    return convert(REAL_FILE, tmp_path_factory.mktemp("cdnow") / "orders.csv")


def test_the_real_file_gives_every_order_and_every_cent(real_orders: Path) -> None:
    with real_orders.open() as lines:
        rows = list(csv.DictReader(lines))
    amounts = [Decimal(row["properties.revenue"]) for row in rows]
    assert len(rows) == len({row["properties.order_id"] for row in rows}) == 69_659
    assert len({row["userId"] for row in rows}) == 23_570
    assert amounts.count(Decimal(0)) == 80
    assert sum(amounts) == Decimal("2500315.63")
