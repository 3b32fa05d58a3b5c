"""Everything above the domain key: members, tokens, sealed state, the recovery bundle."""
