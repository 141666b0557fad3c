"""mept."""
