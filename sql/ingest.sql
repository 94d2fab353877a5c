-- Boards and what they say of their items. Owner: tasks/ingest.
-- status: models.enums.Status (0 pending, 1 ready, 2 running, 3 waiting, 4 done, 5 failed, 6 cancelled, 7 skipped).

-- name: lock
-- One ingest or decompose of a board at a time. Taken before any row, and before the frontier's lock.
select pg_advisory_xact_lock(hashtextextended('penstock.board:' || %(source)s, 0))

-- name: board
select id, sha256, dialect, validation from board where source = %(source)s

-- name: keep_board
-- Whatever was written, needs and recipes have to be looked at anew.
insert into board (source, dialect, encoding, title, sha256, validation, lane)
values (%(source)s, %(dialect)s, %(encoding)s, %(title)s, %(sha256)s, %(validation)s::jsonb, %(lane)s)
on conflict (source) do update
   set dialect = excluded.dialect, encoding = excluded.encoding, title = excluded.title, sha256 = excluded.sha256,
       validation = excluded.validation, decomposed_sha256 = null, ingested_at = now()
returning id, lane

-- name: stored
-- In the order of tasks.ingest.identity.Stored. Labels as null where there are none: the client reads many.
select i.id, i.key, i.parent_id, i.position, s.ext_id, s.kind, s.title, s.declared, s.content_hash, s.origin,
       s.removed_at is not null, i.priority, s.body, s.line, s.depth, nullif(s.labels, '{}'), s.needs,
       i.length, i.deadline, i.named, i.backend
  from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and s.origin <> 'split'
 order by i.position, i.id

-- name: count_items
select count(*) from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and s.origin = 'board' and s.removed_at is null

-- name: same_bytes
-- Boards of files with these bytes, when there is none yet of `source`.
select b.id, b.source from board b
 where b.sha256 = %(sha256)s and b.source like '/%%'
   and not exists (select from board known where known.source = %(source)s)
   and exists (select from item i join item_source s on s.item_id = i.id where i.board_id = b.id and s.removed_at is null)
 order by b.id

-- name: rename
-- The folder may be another: needs across boards have to be looked at anew.
with moved as (
  update board set source = %(source)s, decomposed_sha256 = null, remembered_sha256 = null
   where id = %(board)s and source = %(old)s and sha256 = %(sha256)s
     and not exists (select from board known where known.source = %(source)s)
  returning id
), paused as (
  update pause set name = %(source)s
   where kind = 'board' and name = %(old)s and exists (select from moved)
     and not exists (select from pause p where p.kind = 'board' and p.name = %(source)s)
)
select id from moved

-- name: forget_place
-- What is remembered and said of a board by its old name: memory takes its text anew; other boards, whose items need
-- its items or are refused for them, are decomposed again.
with text as (
  update node set superseded_at = now() where board_id = %(board)s and superseded_at is null and kind <> 'answer'
)
insert into look_again (board_id)
select w.board_id from wanted w join item x on x.id = w.needs_id where x.board_id = %(board)s
union
select item_board from board_link where needs_board = %(board)s
union
select i.board_id from item o join work_key k on k.item_id = o.id join duplicate d on d.fingerprint = k.fingerprint
  join item i on i.id = d.item_id
 where o.board_id = %(board)s and i.board_id <> %(board)s

-- name: maybe_gone
-- Boards of files that were not read now and have items: below these folders, or in the way of what was read.
select b.id, b.source from board b
 where b.source like '/%%' and b.id <> all(%(boards)b::bigint[])
   and (exists (select from unnest(%(folders)b::text[]) as f(folder) where starts_with(b.source, f.folder))
        or b.id in (select o.board_id from item i join duplicate d on d.item_id = i.id
                      join work_key k on k.fingerprint = d.fingerprint join item o on o.id = k.item_id
                     where i.board_id = any(%(boards)b::bigint[])))
   and exists (select from item i join item_source s on s.item_id = i.id
                where i.board_id = b.id and (s.removed_at is null or exists (select from work_key k where k.item_id = i.id)))
 order by b.id

-- name: to_empty
select b.source, b.dialect, b.encoding, b.title,
       (select count(*) from review r join item i on i.id = r.item_id where i.board_id = b.id and r.decided_at is null)
  from board b where b.id = %(board)s

-- name: release_board
select penstock_release_work(array(select id from item where board_id = %(board)s))

-- name: new_ids
-- In the board's order: machines and the frontier's index go by id.
select nextval(pg_get_serial_sequence('item', 'id')) from generate_series(1, %(count)s::int)

-- name: copy_items
-- By COPY: a large board is new rows only, and arrays of them cost the client more than the server.
copy item (id, board_id, parent_id, key, position, status, priority, lane, length, deadline, model, named, backend)
  from stdin

-- name: copy_sources
copy item_source (item_id, ext_id, kind, title, body, line, depth, declared, labels, needs, content_hash, origin)
  from stdin

-- name: keep_sources
-- What the board says now, of the items of which it says something else than before.
update item_source s
   set ext_id = g.ext_id, kind = g.kind, title = g.title, body = g.body, line = g.line, depth = g.depth,
       declared = g.declared, labels = g.labels::jsonb,
       needs = array(select jsonb_array_elements_text(g.needs::jsonb)), content_hash = g.content_hash, removed_at = null
  from unnest(
         %(ids)b::bigint[], %(ext_ids)b::text[], %(kinds)b::text[], %(titles)b::text[], %(bodies)b::text[],
         %(lines)b::int4[], %(depths)b::int2[], %(declared)b::text[], %(labels)b::text[], %(needs)b::text[],
         %(hashes)b::text[]
       ) as g(item_id, ext_id, kind, title, body, line, depth, declared, labels, needs, content_hash)
 where s.item_id = g.item_id

-- name: lock_items
-- Everything that will be written, in the order of ids, so that two writers can't wait for one another: also the
-- parts that models made, which go with their items.
select count(*) from (
  select id from item
   where id = any(array(
     select unnest(%(touched)b::bigint[])
     union all
     select p.id from item_source s join item p on p.id = s.item_id
      where p.board_id = %(board)s and s.origin = 'split' and s.removed_at is null))
   order by id for no key update
) locked

-- name: place_items
-- Another deadline may be near or not: whoever looks for near ones finds it again.
update item i
   set parent_id = g.parent_id, position = g.position, priority = g.priority, length = g.length, deadline = g.deadline,
       named = g.named, model = case when i.named is distinct from g.named then g.named else i.model end,
       backend = g.backend, hurried = i.hurried and i.deadline is not distinct from g.deadline
  from unnest(%(ids)b::bigint[], %(parents)b::bigint[], %(positions)b::int4[], %(priorities)b::int2[],
              %(lengths)b::int2[], %(deadlines)b::timestamptz[], %(models)b::text[], %(backends)b::text[])
       as g(id, parent_id, position, priority, length, deadline, named, backend)
 where i.id = g.id

-- name: close_reviews
-- What a person was asked is no longer the question. The row stays as history.
update review set decision = 'superseded', note = 'the board changed', decided_by = 'penstock', decided_at = now()
 where item_id = any(%(ids)b::bigint[]) and decided_at is null

-- name: forget_rejections
-- A person's "no" was about the old content.
update review set details = details || '{"superseded": true}'
 where item_id = any(%(ids)b::bigint[]) and decision = 'reject'

-- name: transition
-- redo: the work is another now. reshape: it has children now, or none any more. close, reopen: the board says so. restore: back on the board. remove: gone from it.
-- Clearing the lease fences off what a drain still has in flight: its report is for the old content.
update item i
   set status = case g.action when 'redo' then g.fresh when 'reshape' then g.fresh when 'restore' then g.fresh when 'reopen' then 0
                              when 'close' then 7 when 'remove' then case i.status when 4 then 4 else 6 end end,
       parent_id = case g.action when 'remove' then null else i.parent_id end,
       ready = false, lease = null, attempts = 0, tried_before = tries, model = named, recipe = null, run_after = now(),
       lane = b.lane
  from unnest(%(ids)b::bigint[], %(actions)b::text[], %(fresh)b::int2[]) as g(id, action, fresh), board b
 where i.id = g.id and b.id = i.board_id
   and case g.action
         when 'close' then i.status in (0, 1, 2, 3, 5)
         when 'reopen' then i.status in (4, 7)
         when 'restore' then i.status = 6
              and not exists (select from review r where r.item_id = i.id and r.decision = 'reject'
                                and not r.details ? 'superseded')
         else true
       end
returning i.id, i.status

-- name: supersede_results
update result set superseded_at = now() where item_id = any(%(ids)b::bigint[]) and superseded_at is null

-- name: release_work
-- These items no longer do their work; one that was done does, until its content changes.
select penstock_release_work(%(ids)b::bigint[])

-- name: mark_removed
update item_source set removed_at = now() where item_id = any(%(ids)b::bigint[]) and removed_at is null

-- name: drop_splits
-- Parts that a model made of an item whose work is another now, or no longer wanted.
with recursive below as (
  select i.id from item i join item_source s on s.item_id = i.id
   where i.parent_id = any(%(ids)b::bigint[]) and s.origin = 'split'
  union all
  select i.id from item i join below b on i.parent_id = b.id
), gone as (
  update item_source s set removed_at = now() from below b where s.item_id = b.id and s.removed_at is null
), dissolved as (
  delete from council where item_id = any(%(ids)b::bigint[])
)
update item i set status = case i.status when 4 then 4 else 6 end, parent_id = null, ready = false, lease = null
  from below b where i.id = b.id
returning i.id, i.status

-- name: move_splits
-- Parts stand where the item stands that they are parts of, and are done by the model and backend that it names; a
-- member of a council by its own model.
with recursive below as (
  select c.id, p.position, coalesce(s.labels ->> 'model', p.named) as named, p.backend, ps.line, 1 as level
    from item_source s join item c on c.id = s.item_id join item p on p.id = c.parent_id
    join item_source ps on ps.item_id = p.id
   where c.board_id = %(board)s and s.origin = 'split' and ps.origin <> 'split'
  union all
  select c.id, b.position, coalesce(s.labels ->> 'model', b.named), b.backend, b.line, b.level + 1
    from below b join item c on c.parent_id = b.id join item_source s on s.item_id = c.id where b.level < 8
), lines as (
  update item_source s set line = b.line from below b where s.item_id = b.id and s.line <> b.line
)
update item i set position = b.position, named = b.named, backend = b.backend,
       model = case when i.named is distinct from b.named then b.named else i.model end
  from below b
 where i.id = b.id and (i.position, i.named, i.backend) is distinct from (b.position, b.named, b.backend)

-- name: drop_findings
delete from finding where board_id = %(board)s and stage = any(%(stages)b::text[])

-- name: add_findings
insert into finding (board_id, stage, code, severity, line, message)
select %(board)s, stage, code, severity, line, message
  from unnest(%(stages)b::text[], %(codes)b::text[], %(severities)b::text[], %(lines)b::int4[], %(messages)b::text[])
       as f(stage, code, severity, line, message)

-- name: findings
select code, severity, line, message from finding
 where board_id = %(board)s and stage = any(%(stages)b::text[]) order by id

-- name: keep_delta
-- The delta of the latest version: reading the same bytes again is none.
update board set delta = %(delta)s::jsonb where id = %(board)s

-- name: advance_board
select penstock_advance_board(%(board)s)
