"""The six calls as types: parsing, validation, normalisation and e-commerce members. Pure, no I/O."""
