"""Servers that this project's code has no part in, and that count for themselves.

Each is a program: it prints one JSON line ``{"url", "pid"}`` when it is ready, one JSON line of counts for
each line that it reads on stdin, and ends when stdin does.
"""
