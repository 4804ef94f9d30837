"""How fast it is: `python -m bench` measures, prints a table and writes `bench/out/latest.json`.

Figures, not tests: nothing fails because a machine is slow. Client, server and database share the
cores; PostgreSQL runs with fsync on.
"""
