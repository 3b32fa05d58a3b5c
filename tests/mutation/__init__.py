"""`make mutation`: the rooms that decide who may, with one thing wrong at a time; the tests must notice."""
