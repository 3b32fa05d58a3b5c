"""`make bench`: the honest path beside a bare server that answers the same bytes, alternating in one run."""
