"""What a kernel's ELF file says: structures, options, functions and lines, tasks."""
