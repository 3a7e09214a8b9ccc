"""The only modules that import kernelmodel: tables in, model out."""
