"""Analysis: a run directory in; charts, findings, comparisons out. Never gevent or Locust.

- ``frames``    a run directory as books and DataFrames, read once
- ``fonts``     which fonts there are, and text that they can draw
- ``style``     colours, line styles, axes: what all charts share
- ``charts``    one function a chart, from a prepared frame to a figure; one table of them
- ``recovery``  mass drops of sockets, and how their users came back
- ``marks``     the steps of a load shape, numbered
- ``workers``   the processes that made the load, and how they fared
- ``drift``     whether a series grows, by how much, and since when: pure functions of arrays
- ``soak``      what may drift over a run, and what is left behind by it
- ``steps``, ``capacity``, ``usl``, ``saturation``, ``planning``, ``plan_page``   what one node carries
- ``capacity_asked``   at which objective that was asked last
- ``stepped``   what the report says of that
- ``report``    ``report.html`` and its pictures
- ``diagnose``  findings in the terminal
- ``compare``   two runs, or two sets of runs, side by side
- ``named``     the run directories that an argument names
- ``gate``      the verdict of a run's gates, and of several runs'
- ``baseline``, ``regression``, ``beside``   five runs beside five others: worse, or not; and that as a gate
- ``recording`` which runs were made by turns, to be set beside each other
- ``judged``    a run's verdict, for its report
"""
