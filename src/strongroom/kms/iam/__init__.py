"""Who may: principals, policy documents and the one pure function that decides. No I/O, no clock."""
