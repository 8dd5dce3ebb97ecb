"""What distillation costs beside training the student alone, and beside the rivals: `make bench`."""
