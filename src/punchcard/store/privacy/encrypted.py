"""The columns of regulations with encrypted values."""

from typing import Final

from punchcard.store.encrypted import EncryptedColumn
from punchcard.store.privacy.schema import regulation_subjects, regulations, subject_keys, suppressed_subjects

ENCRYPTED_SUBJECTS: Final = (
    EncryptedColumn(subject_keys, subject_keys.c.key),
    EncryptedColumn(regulations, regulations.c.identity),
    EncryptedColumn(regulation_subjects, regulation_subjects.c.value),
    EncryptedColumn(suppressed_subjects, suppressed_subjects.c.value),
)
