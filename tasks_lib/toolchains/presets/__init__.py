"""One module per migration tool or code generator."""
