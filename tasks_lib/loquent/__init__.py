"""The product whose account the golden template holds (seeds 000 and 001)."""
