-- Which process does a flow run, and whether it lives. Owner: tasks/life.py.

-- name: sign
insert into process (flow_run_id, holder) values (%(flow_run_id)s, %(holder)s)
on conflict (flow_run_id) do update set holder = excluded.holder, seen_at = now()

-- name: withdraw
-- Only what it wrote itself: the run may have begun again elsewhere.
delete from process where flow_run_id = %(flow_run_id)s and holder = %(holder)s

-- name: signs
select p.flow_run_id, p.holder, extract(epoch from now() - p.seen_at)::float8 as silent,
       exists (select from lease l where l.holder = p.holder and l.expires_at > now()) as leased
  from process p
 order by p.flow_run_id

-- name: forget
-- Unless it began again meanwhile.
delete from process p using unnest(%(flow_run_ids)s::text[], %(holders)s::text[]) as f (flow_run_id, holder)
 where p.flow_run_id = f.flow_run_id and p.holder = f.holder
