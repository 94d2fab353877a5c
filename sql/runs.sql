-- Runs: how they begin and end, what people want of them, and which process has them. Owner: tasks/runs.
-- A board that a paused or cancelled run had last rests (board.held_by), unless another run that is under way has it.

-- name: begin
-- A run that was stopped, or whose process died, goes on as the same. Not one that is under way elsewhere; nor, when
-- Prefect starts its flow run again, one that a person stopped meanwhile. No row: it may not begin.
insert into run as r (id, params, flow_run_id, stage, board_ids)
values (%(id)s, %(params)s::jsonb, %(flow_run_id)s, %(stage)s, %(boards)b::bigint[])
on conflict (id) do update
   set state = 'running', wish = case when r.state = 'running' then r.wish end, finished_at = null, error = null,
       flow_run_id = excluded.flow_run_id, stage = excluded.stage, params = r.params || excluded.params,
       board_ids = case when cardinality(excluded.board_ids) > 0 then excluded.board_ids else r.board_ids end
 where r.state <> 'running' and not (r.state in ('paused', 'cancelled') and r.flow_run_id = excluded.flow_run_id)
    or r.state = 'running' and r.flow_run_id is not distinct from excluded.flow_run_id
returning r.id

-- name: let_go
-- These boards are worked on: whoever stopped them did so before.
with held as materialized (
  select id from board where id = any(%(boards)b::bigint[]) and held_by is not null order by id for no key update
)
update board set held_by = null from held where board.id = held.id

-- name: hold
-- The boards of a run that was stopped rest. Not one that another run which is under way has.
with mine as materialized (
  select b.id from run r join board b on b.id = any(r.board_ids)
   where r.id = %(id)s
     and not exists (select from run o where o.id <> r.id and o.state = 'running' and o.wish is null
                                         and o.board_ids @> array[b.id])
   order by b.id for no key update of b
)
update board set held_by = %(id)s from mine where board.id = mine.id
returning board.id

-- name: boards
update run set board_ids = %(boards)b::bigint[],
       params = params || jsonb_build_object('unreadable', %(unreadable)s::text[], 'gone', %(gone)s::text[],
                                            'deltas', %(deltas)s::jsonb)
 where id = %(id)s

-- name: taken
-- What does the work.
update run set backend = %(backend)s, endpoint = %(endpoint)s, model = %(model)s where id = %(id)s

-- name: stage
update run set stage = %(stage)s where id = %(id)s

-- name: spilled
-- Another backend does the work of `wanted`: its later work goes to `wanted` all the same.
update run set params = params || jsonb_build_object('spilled_from', %(wanted)s::text, 'spilled', %(sentence)s::text)
 where id = %(id)s

-- name: gone
update run set params = params || jsonb_build_object('gone', coalesce(params -> 'gone', '[]') || to_jsonb(%(gone)s::text[]))
 where id = %(id)s

-- name: written
update run set params = params || jsonb_build_object('written', %(written)s::text[]) where id = %(id)s

-- name: finish
-- Only of one that is under way. What it held meanwhile it holds only if it was stopped.
with ended as (
  update run set state = %(state)s, error = %(error)s, finished_at = now(), wish = null
   where id = %(id)s and state = 'running'
  returning id, state
), free as (
  update board set held_by = null from ended e where board.held_by = e.id and e.state not in ('paused', 'cancelled')
)
select id from ended

-- name: wish
-- A cancellation is not taken back by a pause.
update run set wish = case wish when 'cancel' then wish else %(wish)s end, wished_by = %(by)s
 where id = %(id)s and state = 'running'
returning id

-- name: stop
-- Of one that no process has: at once.
update run set state = %(state)s, wished_by = %(by)s, finished_at = coalesce(finished_at, now())
 where id = %(id)s and state = any(%(from)b::text[])
returning id

-- name: wished
select state, wish, wished_by from run where id = %(id)s

-- name: under_way
-- With the process that has it, if one has signed (tasks/life.py).
select r.id, r.flow_run_id, p.holder, extract(epoch from now() - p.seen_at)::float8,
       exists (select from lease l where l.holder = p.holder and l.expires_at > now())
  from run r left join process p on p.flow_run_id = r.flow_run_id
 where r.state = 'running' and r.flow_run_id is not null

-- name: interrupt
-- Those whose process is gone, unless they began again meanwhile. What a person wanted of one has come to be.
with gone as (
  update run r
     set state = case wish when 'pause' then 'paused' when 'cancel' then 'cancelled' else 'interrupted' end,
         wish = null, finished_at = now()
    from unnest(%(ids)b::uuid[], %(flow_runs)b::text[]) as g(id, flow_run_id)
   where r.id = g.id and r.state = 'running' and r.flow_run_id = g.flow_run_id
  returning r.id, r.state
)
select id, state from gone

-- name: listed
-- The latest first. `like`: a beginning of an id.
select id, state, stage, started_at, finished_at, wish, wished_by, flow_run_id, board_ids, backend, endpoint, model, error,
       params
  from run
 where (%(like)s::text is null or id::text like %(like)s)
   and (%(id)s::uuid is null or id = %(id)s::uuid)
 order by started_at desc, id limit %(limit)s::bigint

-- name: sources
select id, source from board where id = any(%(boards)b::bigint[])

-- name: counts
-- Items that are run, as `penstock report` counts them; a synthesis that is done is what its parts came to.
select board_id, status, count(*) from item
 where board_id = any(%(boards)b::bigint[]) and recipe is not null and status <> 7
   and not (recipe = 'rollup' and status in (4, 6))
 group by 1, 2

-- name: held_runs
-- Stopped runs that keep boards at rest.
select r.id, r.state, r.wished_by, r.finished_at, array_agg(b.source order by b.source)
  from board b join run r on r.id = b.held_by group by r.id order by r.finished_at

-- name: shared
-- Of the boards of a run, those that other runs which are under way have, too.
select b.source, o.id from run r join board b on b.id = any(r.board_ids)
  join run o on o.id <> r.id and o.state = 'running' and o.wish is null and o.board_ids @> array[b.id]
 where r.id = %(id)s order by 1

-- name: running_items
select count(*) from item where lease is not null and status = 2 and board_id = any(%(boards)b::bigint[])

-- name: ready_items
select count(*) from item where ready and board_id = any(%(boards)b::bigint[])

-- name: askable
-- What a rerun could ask again: failed items, those that wait for a person, and those that have an answer. A synthesis
-- that is done follows its parts by itself, that of a council its members.
select i.id, i.status, v.kind, v.error_type, r.accepted_by
  from item i
  join item_source s on s.item_id = i.id
  left join review v on v.item_id = i.id and v.decided_at is null
  left join result r on r.item_id = i.id and r.superseded_at is null
 where i.board_id = any(%(boards)b::bigint[]) and i.status in (3, 4, 5) and i.recipe is not null
   and s.removed_at is null and (i.status <> 4 or i.recipe <> 'rollup' and not exists (select from council k where k.item_id = i.id))
   and (i.status <> 4 or r.id is not null)
 order by i.id

-- name: hold_items
select id from item where id = any(%(items)b::bigint[]) order by id for no key update

-- name: ask_again
-- Fresh attempts. What is done keeps its accepted answer until a new one is accepted.
update item set status = 0, ready = false, attempts = 0, tried_before = tries, model = named, run_after = now(),
       again = item.status = 4
  from unnest(%(items)b::bigint[], %(statuses)b::int2[]) as g(id, status)
 where item.id = g.id and item.status = g.status
   and (item.status <> 4 or exists (select from result r where r.item_id = item.id and r.superseded_at is null))
returning item.id, item.board_id

-- name: advance
-- Those that wait for nothing may be asked; what waits for others that are asked again comes after them.
select penstock_advance(%(items)b::bigint[])

-- name: close_reviews
update review set decision = 'retry', note = %(note)s, decided_by = %(by)s, decided_at = now()
 where item_id = any(%(items)b::bigint[]) and decided_at is null

-- name: look_again
insert into look_again (board_id) select unnest(%(boards)b::bigint[])

-- name: supersede_standing
-- Before a batch is settled: the answers that its new ones replace. Only of items that it still holds.
update result r set superseded_at = now()
  from unnest(%(items)b::bigint[], %(claims)b::int2[]) as g(item_id, claim), item i
 where i.id = g.item_id and i.lease = %(token)s and i.status = 2 and i.tries = g.claim
   and r.item_id = i.id and r.superseded_at is null
returning r.item_id, r.id

-- name: restore_standing
-- The batch did not move them after all: its lease had lapsed.
update result set superseded_at = null where id = any(%(results)b::bigint[])

-- name: keep_standing
-- After it: what was asked again and not bettered stays as it was accepted, and nobody is asked about it.
with stands as (
  update item i set status = 4, ready = false, recipe = %(recipe)s, model = named
   where i.id = any(%(items)b::bigint[]) and i.status in (1, 3, 5)
     and exists (select from result r where r.item_id = i.id and r.superseded_at is null)
  returning i.id
), asked as (
  delete from review v using stands s where v.item_id = s.id and v.decided_at is null
)
select id from stands

-- name: advance_councils
-- Where councils or their members are asked again: a question waits for its members, and so does who was asked about it.
select coalesce(sum(penstock_advance_board(b.id)), 0)::int
  from (select distinct i.board_id as id from item i
         where i.id = any(%(items)b::bigint[])
           and exists (select from council k where k.item_id in (i.id, i.parent_id)) order by 1) b

-- name: ask_missing_again
-- Members that did not answer these questions.
update item i set status = 0, ready = false, attempts = 0, tried_before = tries, model = named, run_after = now()
  from council k
 where k.item_id = i.parent_id and k.item_id = any(%(items)b::bigint[]) and i.status = 5

-- name: follow_parts
-- Only boards on which something that was put together holds one of these answers.
select coalesce(sum(penstock_advance_board(b.id)), 0)::int
  from (select distinct p.board_id as id from item i join item p on p.id = i.parent_id
         where i.id = any(%(items)b::bigint[])
           and (p.recipe = 'rollup' or exists (select from council k where k.item_id = p.id)) order by 1) b
