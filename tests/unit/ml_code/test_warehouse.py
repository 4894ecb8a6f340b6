from __future__ import annotations

import pytest

from ml_code.errors import WarehouseError
from ml_code.warehouse import Warehouse


@pytest.mark.parametrize("dsn", ["host=127.0.0.1 of-the-warehouse", "nonsense=of-the-warehouse", "://of-the-warehouse"])
def test_a_connection_string_without_a_valid_form_is_not_quoted(dsn: str) -> None:
    with pytest.raises(WarehouseError, match="correct MLOPS_WAREHOUSE_DSN") as raised, Warehouse(dsn).transaction():
        pass
    assert "of-the-warehouse" not in str(raised.value)
    assert raised.value.__suppress_context__
