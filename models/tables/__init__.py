"""The stored rows, as SQLModel classes. They mirror sql/migrations; a test compares the two.

These classes serve schema, administration and reports. The hot path (claim, complete, insert in bulk) is raw
psycopg with the named statements of sql/*.sql: 40 times less client CPU a row (docs/database.md).
"""

# All of them: whoever imports one has the whole of SQLModel.metadata.
from models.tables import answers, knowledge, machines, work

__all__ = ["answers", "knowledge", "machines", "work"]
