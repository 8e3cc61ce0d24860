"""The parts that families are made of. Each is a frozen dataclass whose ``build`` puts its nodes into a graph."""
