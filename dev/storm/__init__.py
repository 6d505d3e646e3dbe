"""Run everything at once in bad weather: `nox -s storm`, which CONTRIBUTING explains."""
