"""Documentation sync: which documents still speak of what merges removed, renamed or changed."""

from tasks.doc_sync.sync import SyncResult, sync_documents

__all__ = ["SyncResult", "sync_documents"]
