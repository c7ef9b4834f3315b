"""The product as a user has it: commands, exit codes, files and words, against real servers."""
