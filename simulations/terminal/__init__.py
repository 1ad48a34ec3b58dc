"""What people see: progress, tables, pages, exit codes."""
