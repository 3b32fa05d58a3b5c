"""The operations of IAM, one module per family and a table of all of them.

What several families need: whom a request is about, and what is in its way. Wordings are AWS's (tests name the sources).
"""
