"""Who there is: accounts, users, groups, roles, their policies and credentials, and the operations that manage them."""
