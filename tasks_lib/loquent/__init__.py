"""Build golden templates with an account of the product Loquent. The entry point is `golden_build.GoldenBuild`."""
