-- How far the documentation of a repository was synced, and the proposals that wait. Owner: tasks/doc_sync.

-- name: synced
select branch, last_commit from doc_sync where repo = %(repo)s::text

-- name: open_proposals
select id, subject, details from review
 where decided_at is null and kind = 'document' and details ->> 'repo' = %(repo)s::text

-- name: advance
-- Only from where this sync began: of two syncs at once the second finds no row and takes its proposals back.
insert into doc_sync (repo, branch, last_commit) values (%(repo)s::text, %(branch)s::text, %(tip)s::text)
on conflict (repo) do update
   set branch = excluded.branch, last_commit = excluded.last_commit, synced_at = now()
 where doc_sync.last_commit = %(last)s::text
returning repo

-- name: propose
-- One open review per document. What a person has decided on, word for word, is not asked again.
insert into review (subject, kind, title, reason, error_type, proposal, patch_path, details)
select %(subject)s::text, 'document', %(title)s::text, %(reason)s::text, 'human_only', %(proposal)s::text,
       %(patch_path)s::text, %(details)s::jsonb
 where not exists (
         select 1 from review
          where subject = %(subject)s::text and decided_at is not null and decision <> 'retry'
            and proposal = %(proposal)s::text)
on conflict (subject) where decided_at is null do update
   set title = excluded.title, reason = excluded.reason, proposal = excluded.proposal,
       patch_path = excluded.patch_path, details = excluded.details
returning id

-- name: settle
-- The branch no longer needs the proposal: somebody corrected the document, or the change was taken back.
update review set decision = 'accept', decided_by = 'doc_sync', decided_at = now(), note = %(note)s::text
 where id = any(%(reviews)b::bigint[]) and decided_at is null
