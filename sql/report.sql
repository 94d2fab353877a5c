-- What a run found and what became of it. Reads only. Owner: tasks/report.

-- name: boards
select id, source, dialect, title, revision from board where id = any(%(boards)b::bigint[]) order by id

-- name: findings
select board_id, code, severity, line, message from finding
 where board_id = any(%(boards)b::bigint[]) order by board_id, line, code

-- name: items
-- One row per item of the boards with its current result, its open review and its last try. Refused: another item, the
-- original, does the same work; without one it gets its turn when its board is looked at again.
select i.id, i.board_id, i.parent_id, i.status, i.recipe, i.attempts, s.ext_id, s.kind, s.title, s.line, s.depth, s.declared,
       r.text, r.citations, r.accepted_by, coalesce(r.simulated, false) as simulated, a.model,
       v.id as review_id, v.reason, v.error_type, s.origin, s.complexity,
       d.item_id is not null as refused, o.status as original, v.details -> 'attempts'
  from item i
  join item_source s on s.item_id = i.id
  left join result r on r.item_id = i.id and r.superseded_at is null
  left join attempt a on a.id = r.attempt_id
  left join review v on v.item_id = i.id and v.decided_at is null
  left join duplicate d on d.item_id = i.id and i.status = 7 and i.recipe is null
  left join work_key k on k.fingerprint = d.fingerprint
  left join item o on o.id = k.item_id
 where i.board_id = any(%(boards)b::bigint[]) and s.removed_at is null
 order by i.board_id, i.position, i.id

-- name: blocked_by
-- Of items that still wait: what they wait for.
select n.item_id, n.needs_id
  from need n
  join item i on i.id = n.item_id
  join item d on d.id = n.needs_id
 where i.board_id = any(%(boards)b::bigint[]) and i.status = 0 and i.recipe is not null
   and d.status not in (4, 6, 7)
 order by n.item_id, d.position, d.id

-- name: places
select s.item_id, b.source, s.line
  from item_source s join item i on i.id = s.item_id join board b on b.id = i.board_id
 where s.item_id = any(%(items)b::bigint[])

-- name: progress
-- Items that are done by machines or people, by status; containers only when their synthesis is due or done.
select status, count(*) from item
 where board_id = any(%(boards)b::bigint[]) and recipe is not null group by status

-- name: resting
-- Of items that are ready, and none of which runs: seconds until the first may be asked, if it may not be now, and why
-- it was put off.
select extract(epoch from i.run_after - now())::float8, a.error
  from item i
  left join lateral (select error from attempt where item_id = i.id order by number desc limit 1) a on true
 where i.board_id = any(%(boards)b::bigint[]) and i.ready
   and not exists (select from item r where r.board_id = any(%(boards)b::bigint[]) and r.status = 2)
   and not exists (select from item d
                    where d.board_id = any(%(boards)b::bigint[]) and d.ready and d.run_after <= now())
 order by i.run_after limit 1

-- name: usage
-- For an attempt that is `cached` no call was made; for one with `members` there was one for all of them.
select round(coalesce(sum(1.0 / coalesce(a.members, 1)) filter (where not a.cached), 0))::bigint, count(*) filter (where a.outcome = 'accepted'),
       coalesce(sum(a.prompt_tokens) filter (where not a.cached), 0)::bigint,
       coalesce(sum(a.completion_tokens) filter (where not a.cached), 0)::bigint,
       coalesce(sum(a.seconds) filter (where not a.cached), 0)::float8, count(*) filter (where a.cached)
  from attempt a join item i on i.id = a.item_id
 where i.board_id = any(%(boards)b::bigint[]) and a.finished_at >= %(since)s

-- name: one_run
select id, started_at, finished_at, state, board_ids, backend, endpoint, model, error, params
  from run where id = %(id)s

-- name: ready_groups
-- `fresh`: those that no council was asked about yet.
select recipe, priority, count(*),
       count(*) filter (where not exists (select from council c where c.item_id = item.id)) as fresh
  from item
 where ready and board_id = any(%(boards)b::bigint[]) group by recipe, priority order by priority, recipe

