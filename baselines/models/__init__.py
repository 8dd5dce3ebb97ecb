"""Teachers and students as torch modules, how they are built and read; it does not know a method or a loss."""
