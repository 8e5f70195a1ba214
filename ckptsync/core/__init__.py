"""What every side shares: words, names, files, seals. Standard library only, for it travels inside kernels."""
