"""The ledger: what every module of the agent is worth, and which claims hold, from rows alone."""
