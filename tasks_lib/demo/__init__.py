"""The whole story on a throwaway repository: to be watched (demo), and to be checked (smoke)."""
