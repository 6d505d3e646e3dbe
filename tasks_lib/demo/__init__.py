"""The whole workflow on a throwaway repository: to watch (demo), and to check (smoke)."""
