"""What is encrypted with the secret key is known to its rotation: otherwise it could not be read afterwards."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "punchcard"
# Modules that encrypt with the key, each with where the value goes. A column belongs in an `encrypted.py` of the store.
REVIEWED = {
    "engage/erasure.py": "regulations.identity",
    "operations/key_rotation.py": "the rotation",
    "operations/oidc_accounts.py": "access_settings.value",
    "operations/regulations.py": "regulation_subjects.value, suppressed_subjects.value",
    "operations/sealed_values.py": "a cookie or a form of some minutes",
    "operations/two_factor.py": "second_factors.secret",
    "workspace/alert_settings.py": "configuration_documents.body",
    "workspace/document.py": "configuration_documents.body",
    "workspace/subject_vault.py": "subject_keys.key, and for the modules above",
    "workspace/versions.py": "configuration_version_parts.body",
}


def test_every_module_that_encrypts_was_reviewed() -> None:
    encrypting = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encrypt"
    }
    assert encrypting - {"workspace/keyring.py", "cli/key_rotation.py"} == set(REVIEWED)
