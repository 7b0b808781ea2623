"""The six calls as types, their reading, validation and normalisation, and e-commerce readings: pure, no I/O."""
