"""``sessionwise tour``: each promise, run as the same code on plain SQLAlchemy and on sessionwise.

::

    chapters/   one small file per technique of the guide: its promise, its scenes
    chapter     what a chapter and a scene are
    model       the tables; dataset, the rows for them (extract makes the files)
    stage       a database with those tables for the time of a tour, and its two sides
    runner      plays a scene on a side and notes what it stored, answered and took
    report      shows the results, for people or as JSON
"""
