"""The golden template: promoted, pulled, built and reported on."""
