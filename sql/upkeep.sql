-- What has to be started because nobody works on it. Owner: tasks/upkeep.py.

-- name: wanted_drains
-- Boards with claimable work whose backend has no live lease. What a drain that died had claimed is work too. An item
-- without a backend of its own goes where its board's latest run went, or would have gone (`spilled_from`); null where no
-- run has chosen yet. What a provider answers later is waited for where it was sent. `named`: it can go nowhere else. What
-- is paused wants nobody.
with stopped as materialized (
  select p.kind, p.name, b.id as board_id from pause p left join board b on p.kind = 'board' and b.source = p.name
   where p.until is null or p.until > now()
  union all
  select 'board', source, id from board where held_by is not null
), work as (
  select board_id, coalesce(backend, case when status = 2 then (
           select split_part(b.resource, ' ', 1) from provider_batch_item p
             join provider_batch b on b.id = p.provider_batch_id
            where p.item_id = item.id and p.claim = item.tries and b.closed_at is null) end) as backend,
         recipe, count(*) as items from item
   where (ready and run_after <= now())
      or (status = 2 and lease is not null
          and not exists (select from lease l where l.token = item.lease and l.expires_at > now()))
   group by 1, 2, 3
), placed as (
  select coalesce(w.backend, (select coalesce(r.params ->> 'spilled_from', r.backend) from run r
                               where r.board_ids @> array[w.board_id] and r.backend is not null
                               order by r.started_at desc limit 1)) as backend, w.board_id, w.recipe, w.items,
         w.backend is not null as named
    from work w
)
select backend, board_id, recipe, items, named from placed p
 where not exists (select 1 from lease l where l.backend = p.backend and l.expires_at > now())
   and not exists (select from stopped s
                    where s.board_id = p.board_id or s.kind = 'recipe' and s.name = p.recipe
                       or s.kind = 'backend' and s.name = p.backend)
 order by backend, board_id, recipe, named

-- name: working_runs
-- Of these flow runs, those that claimed anything.
select distinct flow_run_id from batch where flow_run_id = any(%(runs)b::text[])

-- name: backlog
select exists (select from item where (ready or lease is not null and status = 2)
                                  and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[])))

-- name: live_lease
select exists (select 1 from lease where backend = %(backend)s::text and expires_at > now())

-- name: record_delivery
-- Durable before the run is made: the same id is one row, whoever is first. The first one's parameters count.
insert into delivery (id, source, parameters) values (%(id)s, %(source)s, %(parameters)s::jsonb)
on conflict (id) do nothing

-- name: delivery
select parameters, flow_run_id from delivery where id = %(id)s

-- name: settle_delivery
update delivery set flow_run_id = %(flow_run_id)s where id = %(id)s and flow_run_id is null

-- name: unsettled_deliveries
-- Accepted, and the process died before it started the run. Young ones are still being answered.
select id, parameters from delivery
 where flow_run_id is null and received_at < now() - %(age)s * interval '1 second'
 order by received_at limit 100
