"""The columns of the configuration with encrypted values."""

from typing import Final

from punchcard.store.encrypted import EncryptedColumn
from punchcard.store.workspace.schema import configuration_documents, configuration_version_parts

ENCRYPTED_CONFIGURATION: Final = (
    EncryptedColumn(configuration_documents, configuration_documents.c.body),
    EncryptedColumn(configuration_version_parts, configuration_version_parts.c.body),
)
