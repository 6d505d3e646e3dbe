"""Compare databases: fingerprints, contents, and when a fingerprint is still valid."""
