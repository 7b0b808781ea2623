"""The partner of the built-in loyalty destination as tests need it: scripted, as a server, and as configuration."""
