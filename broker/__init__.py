"""The forwarder, the log and its replay; owns the contract: wire, topics, control, errors."""
