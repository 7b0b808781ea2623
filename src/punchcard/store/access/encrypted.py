"""The columns of operators and sign-in with encrypted values."""

from typing import Final

from punchcard.store.access.schema import access_settings, second_factors
from punchcard.store.encrypted import EncryptedColumn

ENCRYPTED_ACCESS: Final = (
    EncryptedColumn(second_factors, second_factors.c.secret),
    EncryptedColumn(access_settings, access_settings.c.value),
)
