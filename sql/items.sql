-- What is stored, looked at: lists of items, one item, boards. Reads only. Owner: tasks/items.
-- status: models.enums.Status (0 pending, 1 ready, 3 waiting; 4 done, 6 cancelled, 7 skipped: settled).
-- A filter that is null or false is folded away before planning, and with the last filter on item_source the join to
-- it: lists by state then read only the narrow rows.

-- name: page
-- In the board's order, after the item `after`.
select i.id
  from item i left join item_source s on s.item_id = i.id
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(statuses)b::int2[] is null or i.status = any(%(statuses)b::int2[]))
   and (not %(blocked)s::bool or (i.status = 0 and exists (
         select from need n join item d on d.id = n.needs_id where n.item_id = i.id and d.status not in (4, 6, 7))))
   and (%(declared)b::text[] is null or s.declared = any(%(declared)b::text[]))
   and (%(kinds)b::text[] is null or s.kind = any(%(kinds)b::text[]))
   and (%(words)b::text[] is null
        or lower(coalesce(s.ext_id, '') || ' ' || s.title || ' ' || s.body) like all(%(words)b::text[]))
   and not exists (select from item_source r where r.item_id = i.id and r.removed_at is not null)
   and (%(after)s::bigint is null
        or (i.board_id, i.position, i.id) > (select a.board_id, a.position, a.id from item a where a.id = %(after)s))
 order by i.board_id, i.position, i.id
 limit %(limit)s::bigint

-- name: ready_page
-- In the order in which it will run, after the item `after`.
select i.id
  from item i left join item_source s on s.item_id = i.id
 where i.ready
   and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(statuses)b::int2[] is null or i.status = any(%(statuses)b::int2[]))
   and (%(declared)b::text[] is null or s.declared = any(%(declared)b::text[]))
   and (%(kinds)b::text[] is null or s.kind = any(%(kinds)b::text[]))
   and (%(words)b::text[] is null
        or lower(coalesce(s.ext_id, '') || ' ' || s.title || ' ' || s.body) like all(%(words)b::text[]))
   and (%(after)s::bigint is null or (i.priority, i.id) > (select a.priority, a.id from item a where a.id = %(after)s))
 order by i.priority, i.id
 limit %(limit)s::bigint

-- name: count
select count(*)
  from item i left join item_source s on s.item_id = i.id
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(statuses)b::int2[] is null or i.status = any(%(statuses)b::int2[]))
   and (not %(ready)s::bool or i.ready)
   and (not %(blocked)s::bool or (i.status = 0 and exists (
         select from need n join item d on d.id = n.needs_id where n.item_id = i.id and d.status not in (4, 6, 7))))
   and (%(declared)b::text[] is null or s.declared = any(%(declared)b::text[]))
   and (%(kinds)b::text[] is null or s.kind = any(%(kinds)b::text[]))
   and (%(words)b::text[] is null
        or lower(coalesce(s.ext_id, '') || ' ' || s.title || ' ' || s.body) like all(%(words)b::text[]))
   and not exists (select from item_source r where r.item_id = i.id and r.removed_at is not null)

-- name: rows
-- These items, in the order given. Blocked: something that it needs is not settled.
select i.id, i.board_id, b.source, i.parent_id, i.status, i.priority, i.recipe, i.run_after, s.ext_id, s.kind, s.title,
       s.line, s.depth, s.declared, s.labels,
       (select v.id from review v where v.item_id = i.id and v.decided_at is null order by v.id limit 1) as review,
       i.status = 0 and exists (
         select from need n join item d on d.id = n.needs_id where n.item_id = i.id and d.status not in (4, 6, 7)
       ) as blocked, exists (select from duplicate d where d.item_id = i.id) as refused
  from unnest(%(ids)b::bigint[]) with ordinality as g(id, number)
  join item i on i.id = g.id
  join item_source s on s.item_id = i.id
  join board b on b.id = i.board_id
 order by g.number

-- name: waits_for
-- Of each item the first of the needs that are not settled, and how many there are.
select g.id, w.needs_id, b.source, s.line, s.ext_id, s.title, w.status, w.total
  from unnest(%(ids)b::bigint[]) as g(id),
       lateral (
         select n.needs_id, d.status, d.board_id, d.position, count(*) over () as total
           from need n join item d on d.id = n.needs_id
          where n.item_id = g.id and d.status not in (4, 6, 7)
          order by d.position, d.id limit %(most)s::bigint
       ) w
  join item_source s on s.item_id = w.needs_id
  join board b on b.id = w.board_id
 order by g.id, w.position, w.needs_id

-- name: statuses
select i.status, count(*) from item i
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and not exists (select from item_source r where r.item_id = i.id and r.removed_at is not null)
 group by i.status order by i.status

-- name: by_place
-- An item by its line or by its id on the board.
select i.id from item i join item_source s on s.item_id = i.id
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (s.line = %(line)s::int4 or s.ext_id = %(ext_id)s::text) and s.removed_at is null
 order by i.board_id, i.position, i.id limit %(limit)s::bigint

-- name: one
select s.body, s.needs, s.origin, s.removed_at, i.attempts
  from item i join item_source s on s.item_id = i.id where i.id = %(item)s::bigint

-- name: above
-- What an item is part of, from the top down.
with recursive up as (
  select parent_id as id, 1 as level from item where id = %(item)s::bigint
  union all
  select p.parent_id, u.level + 1 from up u join item p on p.id = u.id
)
select id from up where id is not null order by level desc

-- name: parts
select id from item where parent_id = %(item)s::bigint order by position, id limit %(limit)s::bigint

-- name: parts_by_status
-- Of what is skipped also what the board says, and whether another item does it.
select p.status, case when p.status = 7 then (select s.declared from item_source s where s.item_id = p.id) else '' end,
       p.status = 7 and exists (select from duplicate d where d.item_id = p.id), count(*)
  from item p where p.parent_id = %(item)s::bigint group by 1, 2, 3 order by 1, 2, 3

-- name: needs
select n.needs_id from need n join item d on d.id = n.needs_id
 where n.item_id = %(item)s::bigint order by d.position, d.id limit %(limit)s::bigint

-- name: needed_by
select n.item_id from need n join item d on d.id = n.item_id
 where n.needs_id = %(item)s::bigint order by d.position, d.id limit %(limit)s::bigint

-- name: count_needs
select (select count(*) from need where item_id = %(item)s::bigint),
       (select count(*) from need where needs_id = %(item)s::bigint)

-- name: findings_at
select f.code, f.severity, f.line, f.message
  from item i join item_source s on s.item_id = i.id join finding f on f.board_id = i.board_id and f.line = s.line
 where i.id = %(item)s::bigint and s.line > 0 order by f.id

-- name: result
select text, citations, accepted_by, simulated, accepted_at from result
 where item_id = %(item)s::bigint and superseded_at is null

-- name: reviews
select id, error_type, reason, opened_at, decision, note, decided_by, decided_at from review
 where item_id = %(item)s::bigint order by id

-- name: board_places
-- Without those that were emptied: their file is gone, or they were forgotten.
select id, source from board where sha256 <> '' order by id

-- name: boards
-- Items as a report counts them: those that stand on the board; steps apart. One whose work another item does is settled
-- with that one.
with refused as (
  select d.item_id from duplicate d join item i on i.id = d.item_id
    left join work_key k on k.fingerprint = d.fingerprint left join item o on o.id = k.item_id
   where i.status = 7 and i.recipe is null and (o.status is null or o.status not in (4, 6, 7))
     and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
)
select b.id, b.source, b.dialect, b.encoding, b.title, b.sha256, b.ingested_at, b.delta,
       (b.validation ->> 'success')::bool, (b.validation ->> 'rows')::int,
       coalesce(c.items, 0), coalesce(c.steps, 0), coalesce(c.settled, 0), coalesce(c.waiting, 0),
       coalesce(f.errors, 0), coalesce(f.warnings, 0), coalesce(f.infos, 0), b.lane, b.wip
  from board b
  left join (
    select i.board_id, count(*) filter (where s.kind <> 'step') as items,
           count(*) filter (where s.kind = 'step') as steps,
           count(*) filter (where s.kind <> 'step' and i.status in (4, 6, 7) and r.item_id is null) as settled,
           count(*) filter (where i.status = 3) as waiting
      from item i join item_source s on s.item_id = i.id
      left join refused r on r.item_id = i.id
     where s.origin = 'board' and s.removed_at is null
       and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
     group by i.board_id
  ) c on c.board_id = b.id
  left join (
    select board_id, count(*) filter (where severity = 'error') as errors,
           count(*) filter (where severity = 'warning') as warnings,
           count(*) filter (where severity = 'info') as infos
      from finding group by board_id
  ) f on f.board_id = b.id
 where b.sha256 <> '' and (%(boards)b::bigint[] is null or b.id = any(%(boards)b::bigint[]))
 order by b.id

-- name: validation
select validation from board where id = %(board)s::bigint

-- name: findings
select code, severity, line, message from finding where board_id = %(board)s::bigint
 order by case severity when 'error' then 0 when 'warning' then 1 else 2 end, line, id
