-- What boards are read from beside files. Owner: tasks/ingest/origins.py.

-- name: keep_revision
update board set revision = %(revision)s where id = %(board)s and revision is distinct from %(revision)s

-- name: keep_issue
-- The later state of an issue wins, in whatever order deliveries arrive; of two with the same time, which has whole
-- seconds, the one that arrives later, but nothing comes back of the second in which it was removed.
insert into issue (repository, number, updated_at, removed, fields)
values (%(repository)s, %(number)s, %(updated_at)s, %(removed)s, %(fields)s::jsonb)
on conflict (repository, number) do update
   set updated_at = greatest(issue.updated_at, excluded.updated_at), removed = excluded.removed,
       fields = issue.fields || excluded.fields  -- what a payload does not say stands
 where excluded.removed or excluded.updated_at > issue.updated_at
    or (excluded.updated_at = issue.updated_at and not issue.removed
        and issue.fields is distinct from issue.fields || excluded.fields)  -- said again, it changes nothing

-- name: issues
select fields, removed from issue where repository = %(repository)s order by number
