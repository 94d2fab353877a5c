-- The life of an item between ready and its end, in sets. Owner: tasks/execute.
-- status: models.enums.Status (1 ready, 2 running, 3 waiting, 4 done, 5 failed).

-- name: by_index
-- Before looking for groups and claiming, in the same transaction. After a large ingest statistics are older than the rows:
-- where it believes there are few the planner reads and sorts them all instead of taking the first of an index (0.5 s
-- instead of 2 ms at 400,000 items).
set local enable_sort = off

-- name: groups
-- The groups of ready items that a drain may take, with their most urgent item and their oldest: what tasks/execute/order.py
-- chooses from. A loose index scan: one probe per group, however many items there are. The most urgent item is looked
-- for board by board, so that a paused board costs one probe and not one per item. `boards`: a few boards, on which alone
-- it is looked; `among`: many, by which what was found is filtered. `shunned`: this endpoint, where another one of its
-- backend is alive: what failed on it is the other's, for `away` seconds from when it may be claimed.
with recursive shunned as materialized (
  select mine.resource from lease mine
   where mine.token = %(token)s
     and exists (select from lease l where l.backend = mine.backend and l.resource <> mine.resource and l.expires_at > now())
), walk as (
  (select coalesce(backend, '') as backend, recipe, coalesce(model, '') as model from item where ready
    order by coalesce(backend, ''), recipe, coalesce(model, '') limit 1)
  union all
  select n.backend, n.recipe, n.model
    from walk w cross join lateral (
      select coalesce(i.backend, '') as backend, i.recipe, coalesce(i.model, '') as model from item i
       where i.ready and (coalesce(i.backend, ''), i.recipe, coalesce(i.model, '')) > (w.backend, w.recipe, w.model)
       order by coalesce(i.backend, ''), i.recipe, coalesce(i.model, '') limit 1) n
), mine as materialized (
  select backend, recipe, model from walk
   where backend in ('', %(backend)s) and recipe = any(%(recipes)b::text[])
)
select g.backend, g.recipe, g.model, head.urgency,
       extract(epoch from now() - coalesce(oldest.run_after, now()))::float8 as waited
  from mine g
 cross join lateral (
   with recursive step as (
     (select i.urgency, i.board_id from item i
       where %(boards)b::bigint[] is null
         and i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe and coalesce(i.model, '') = g.model
       order by i.urgency, i.board_id limit 1)
     union all
     select n.urgency, n.board_id
       from step s cross join lateral (
         select i.urgency, i.board_id from item i
          where i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe
            and coalesce(i.model, '') = g.model and (i.urgency, i.board_id) > (s.urgency, s.board_id)
          order by i.urgency, i.board_id limit 1) n
   ), level as (
     (select i.urgency from item i
       where %(boards)b::bigint[] is not null
         and i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe and coalesce(i.model, '') = g.model
       order by i.urgency limit 1)
     union all
     select n.urgency
       from level l cross join lateral (
         select i.urgency from item i
          where i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe
            and coalesce(i.model, '') = g.model and i.urgency > l.urgency
          order by i.urgency limit 1) n
   ), place as (
     select urgency, board_id from step
     union all
     select l.urgency, b.id from level l cross join unnest(%(boards)b::bigint[]) as b(id)
   )
   select p.urgency
     from place p cross join lateral (
       select from item i
        where i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe
          and coalesce(i.model, '') = g.model and i.urgency = p.urgency and i.board_id = p.board_id
          and i.run_after <= now()
          and (i.avoid is null or i.avoid is distinct from (select resource from shunned)
               or i.run_after <= now() - %(away)s * interval '1 second')
        limit 1) there
    where p.board_id <> all(%(without)b::bigint[])
      and (%(among)b::bigint[] is null or p.board_id = any(%(among)b::bigint[]))
    limit 1
 ) head
  left join lateral (
   (select i.run_after from item i
     where %(boards)b::bigint[] is null
       and i.ready and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe and coalesce(i.model, '') = g.model
       and i.board_id <> all(%(without)b::bigint[])
       and (%(among)b::bigint[] is null or i.board_id = any(%(among)b::bigint[]))
     order by i.run_after limit 1)
   union all
   select min(o.run_after)
     from unnest(%(boards)b::bigint[]) as b(id) cross join lateral (
       select i.run_after from item i
        where i.ready and i.board_id = b.id and i.board_id <> all(%(without)b::bigint[])
          and coalesce(i.backend, '') = g.backend and i.recipe = g.recipe and coalesce(i.model, '') = g.model
        order by i.run_after limit 1) o
   having count(*) > 0
 ) oldest on true

-- name: limited_boards
select id from board where wip is not null

-- name: hold_limited
-- Boards with a limit of running items, locked in order until the claim is made.
select id from board where id = any(%(limited)b::bigint[]) order by id for no key update

-- name: limited
-- How many more items of each may run. After they are locked, in a statement of its own: it sees what a drain that was
-- waited for has taken.
select b.id,
       greatest(b.wip - (select count(*) from item i where i.lease is not null and i.board_id = b.id and i.status = 2), 0)
  from board b where b.id = any(%(limited)b::bigint[]) and b.wip is not null

-- name: claim
-- One batch of a group: of boards in turn, `spread` of them after the one that was served last, at one urgency; of each
-- what shares a prompt prefix, longest first. `aged` of them are the group's oldest that have waited for `patience`.
-- `shunned` as for groups. Claims nothing without a live lease. By array, not by a join: statistics may be older than a
-- large ingest, and for what it believes to be one row the planner takes a nested loop over all ready items (30 times
-- slower). `candidates` are twice as many as are wanted, because others may have locked as many: all that was found of many
-- boards would be hundreds of times that. `chosen` has the rows locked and checked, one after the other until there are
-- enough: by a join, the planner compares all candidates with all ready items of a table it knows nothing of yet. The
-- `case` hides `ready` from it, or it goes through the index of those that are, for each.
with recursive shunned as materialized (
  select mine.resource from lease mine
   where mine.token = %(token)s
     and exists (select from lease l where l.backend = mine.backend and l.resource <> mine.resource and l.expires_at > now())
), reach as (
  (select %(after)s::bigint as board_id, false as wrapped where %(boards)b::bigint[] is null)
  union all
  (select n.board_id, n.wrapped
     from reach r cross join lateral (
       (select o.board_id, r.wrapped from lateral (
          select coalesce(i.backend, '') as backend, i.recipe, coalesce(i.model, '') as model, i.urgency, i.board_id
            from item i
           where i.ready and (coalesce(i.backend, ''), i.recipe, coalesce(i.model, ''), i.urgency, i.board_id)
                             > (%(group_backend)s, %(recipe)s, %(model)s, %(urgency)s, r.board_id)
           order by coalesce(i.backend, ''), i.recipe, coalesce(i.model, ''), i.urgency, i.board_id limit 1) o
         where (o.backend, o.recipe, o.model, o.urgency)
               = (%(group_backend)s, %(recipe)s, %(model)s, %(urgency)s)
           and (not r.wrapped or o.board_id <= %(after)s))
       union all
       (select -1, true where not r.wrapped)
       limit 1) n)
), turn as materialized (
  (select board_id from (
     select board_id from reach where board_id >= 0 and (wrapped or board_id <> %(after)s)
     union all
     select b.id from (select id from unnest(%(boards)b::bigint[]) as b(id) order by id <= %(after)s, id) b
   ) places
   cross join lateral (
     select from item i
      where i.ready and coalesce(i.backend, '') = %(group_backend)s and i.recipe = %(recipe)s
        and coalesce(i.model, '') = %(model)s and i.urgency = %(urgency)s and i.board_id = places.board_id
        and i.run_after <= now()
        and (i.avoid is null or i.avoid is distinct from (select resource from shunned)
             or i.run_after <= now() - %(away)s * interval '1 second')
      limit 1) there
   where board_id <> all(%(without)b::bigint[])
     and (%(among)b::bigint[] is null or board_id = any(%(among)b::bigint[]))
   limit %(spread)s)
), found as (
  select c.id, c.rank from turn t cross join lateral (
    select n.id, row_number() over () as rank from (
      select i.id from item i
       where i.ready and coalesce(i.backend, '') = %(group_backend)s and i.recipe = %(recipe)s
         and coalesce(i.model, '') = %(model)s and i.urgency = %(urgency)s and i.board_id = t.board_id
         and i.run_after <= now()
         and (i.avoid is null or i.avoid is distinct from (select resource from shunned)
              or i.run_after <= now() - %(away)s * interval '1 second')
       order by coalesce(i.parent_id, 0), i.length desc, i.id
       limit (select coalesce(min(l.room), 2 * %(size)s)
                from unnest(%(limited)b::bigint[], %(room)b::int[]) as l(id, room) where l.id = t.board_id)
    ) n) c
  union all
  (select i.id, 0 from item i
    where %(boards)b::bigint[] is null
      and i.ready and coalesce(i.backend, '') = %(group_backend)s and i.recipe = %(recipe)s
      and coalesce(i.model, '') = %(model)s and i.run_after <= now() - %(patience)s * interval '1 second'
      and (i.avoid is null or i.avoid is distinct from (select resource from shunned)
           or i.run_after <= now() - %(away)s * interval '1 second')
      and i.board_id <> all(%(without)b::bigint[]) and i.board_id <> all(%(limited)b::bigint[])
      and (%(among)b::bigint[] is null or i.board_id = any(%(among)b::bigint[]))
    order by i.run_after limit %(aged)s)
  union all
  (select o.id, 0 from unnest(%(boards)b::bigint[]) as b(id) cross join lateral (
     select i.id, i.run_after from item i
      where i.ready and i.board_id = b.id
        and coalesce(i.backend, '') = %(group_backend)s and i.recipe = %(recipe)s and coalesce(i.model, '') = %(model)s
        and i.run_after <= now() - %(patience)s * interval '1 second'
        and (i.avoid is null or i.avoid is distinct from (select resource from shunned)
             or i.run_after <= now() - %(away)s * interval '1 second')
        and i.board_id <> all(%(without)b::bigint[]) and i.board_id <> all(%(limited)b::bigint[])
      order by i.run_after limit %(aged)s) o
    order by o.run_after limit %(aged)s)
), candidates as materialized (
  select id, min(rank) as rank from found group by id order by min(rank), id limit 2 * %(size)s + %(aged)s
), chosen as materialized (
  select i.id from (select id from candidates order by rank, id) c cross join lateral (
    select id from item where id = c.id and case when ready then run_after <= now() end for update skip locked) i
   limit %(size)s
), claimed as (
  update item set status = 2, ready = false, tries = tries + 1, lease = %(token)s
   where item.id = any(array(select id from chosen))
     and exists (select 1 from lease where token = %(token)s and expires_at > now())
  returning item.id, item.board_id, item.parent_id, item.recipe, item.model, item.urgency, item.length, item.attempts,
            item.tries, item.tried_before, item.again
)
select c.id, c.board_id, c.recipe, c.model, c.attempts, c.tries,
       s.kind, s.ext_id, s.title, s.body, s.line, s.labels, b.source, b.title as board_title,
       p.title as parent_title, case when p.origin = 'document' then '' else p.body end as parent_body, s.complexity,
       c.tried_before, c.again
  from claimed c
  join item_source s on s.item_id = c.id
  join board b on b.id = c.board_id
  left join item_source p on p.item_id = c.parent_id
 order by c.urgency, c.board_id, coalesce(c.parent_id, 0), c.length desc, c.id

-- name: hurry
-- Items whose deadline is near go first from now on. What another has locked is looked at again in a minute: to wait for
-- it, with others locked, could be a deadlock.
with due as materialized (
  select id from item
   where deadline is not null and not hurried and status < 2
     and deadline <= now() + %(lead)s * interval '1 second'
     for no key update skip locked
)
update item set hurried = true where id = any(array(select id from due))

-- name: results_of_parts
-- What the parts of each item came to: what a synthesis is made from.
select p.parent_id, p.id, s.ext_id, s.title, p.status, r.text, coalesce(r.simulated, false)
  from item p
  join item_source s on s.item_id = p.id
  left join result r on r.item_id = p.id and r.superseded_at is null
 where p.parent_id = any(%(items)b::bigint[]) and s.removed_at is null
 order by p.parent_id, p.position, p.id

-- name: lock_frontiers
-- Before a look at what may have changed meanwhile: whoever changed it has committed then, or sees what this does.
select penstock_lock_frontiers(array(select distinct board_id from item where id = any(%(items)b::bigint[])))

-- name: advance_stale
-- After syntheses: the boards of those whose parts are others now, or open again.
select sum(penstock_advance_board(b.id))::int
  from (select distinct i.board_id as id from item i
         where i.id = any(%(items)b::bigint[])
           and (i.rolled_of is distinct from penstock_parts(i.id)
                or exists (select from item c where c.parent_id = i.id and c.status not in (4, 5, 6, 7)))
         order by 1) b

-- name: past
-- What became of the tries of items since each began anew (`since`: tries before that): seconds since the first of them
-- began; how often in a row, to now, it came back because of the server; with the recipe that it has now, how many tries
-- there were, how many of them were cut off, too long, out of memory; how the last ended; the recipes it was tried with;
-- why the last answer was not accepted; whether the last was together with others. Claims that were given back unasked
-- are no tries.
with tried as materialized (
  select a.item_id, a.number, a.outcome, a.error_type, a.error, a.checks, a.finished_at, a.seconds, a.members,
         b.recipe, a.number > coalesce(max(a.number) filter (where a.outcome = 'fallback') over own, 0) as here,
         a.number > coalesce(max(a.number) filter (where a.outcome <> 'returned') over own, 0) as in_a_row
    from unnest(%(items)b::bigint[], %(since)b::int2[]) as m(item_id, since)
    join attempt a on a.item_id = m.item_id and a.number > m.since
    join batch b on b.id = a.batch_id
  window own as (partition by a.item_id)
)
select item_id,
       extract(epoch from now() - min(finished_at - seconds * interval '1 second'))::float8,
       count(*) filter (where in_a_row),
       count(*) filter (where here),
       count(*) filter (where here and error_type = 'truncated'),
       count(*) filter (where here and error_type = 'context_too_long'),
       count(*) filter (where here and error_type = 'out_of_memory'),
       (array_agg(error_type order by number desc))[1],
       (array_agg(error order by number desc))[1],
       array_agg(distinct recipe),
       (array_agg(jsonb_build_array(checks, error, error_type) order by number desc)
          filter (where here and outcome = 'retry' and error_type <> 'packed'))[1],
       (array_agg(members is not null order by number desc))[1]
  from tried group by item_id

-- name: open_batch
insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size, explores, flow_run_id)
values (%(lease)s, %(backend)s, %(endpoint)s, %(model)s, %(recipe)s, %(recipe_hash)s, %(size)s, %(explores)s,
        %(flow_run_id)s)
returning id

-- name: keep_recipe
insert into recipe (hash, name, text) values (%(hash)s, %(name)s, %(text)s) on conflict do nothing

-- name: hold
-- Before settling, in the order of ids as ingest locks them too: two that wait for each other would both fail.
select from item where id = any(%(items)b::bigint[]) and lease = %(token)s order by id for no key update

-- name: settle
-- The end of a batch in one statement. Only items still held under this lease token, of a lease that is alive, move;
-- for all others nothing is written: a late or repeated report changes nothing. What moved carries its report along:
-- joined to it again, a batch of 1,000 would be compared with itself row by row, three times.
-- `elsewhere`: where another endpoint of the backend is alive the item is that one's, after so many seconds.
with mine as materialized (
  select m.resource,
         exists (select from lease l where l.backend = m.backend and l.resource <> m.resource and l.expires_at > now()) as others
    from lease m where m.token = %(token)s
), moved as (
  update item set
    status = case r.outcome when 'accepted' then 4 when 'deferred' then 3 when 'failed' then 5 else 1 end,
    ready = r.outcome in ('retry', 'returned', 'fallback'),
    attempts = case when r.outcome = 'fallback' then 0 else item.attempts + r.charged end,
    recipe = coalesce(r.next_recipe, item.recipe),
    model = case when r.outcome = 'fallback' then item.named else coalesce(r.next_model, item.model) end,
    avoid = case when r.elsewhere is not null then (select resource from mine) end,
    run_after = case when r.elsewhere is not null and (select others from mine) then now() + r.elsewhere * interval '1 second'
                     when r.delay > 0 then now() + r.delay * interval '1 second' else item.run_after end,
    lease = null
  from unnest(
    %(items)b::bigint[], %(outcomes)b::text[], %(charged)b::int2[], %(delays)b::float8[], %(next_recipes)b::text[],
    %(models)b::text[], %(prompt_hashes)b::text[], %(prompt_tokens)b::int4[], %(completion_tokens)b::int4[],
    %(seconds)b::float4[], %(error_types)b::text[], %(errors)b::text[], %(answers)b::text[], %(checks)b::text[],
    %(texts)b::text[], %(data)b::text[], %(citations)b::text[], %(simulated)b::bool[], %(claims)b::int2[],
    %(cached_tokens)b::int4[], %(costs)b::float8[], %(reused)b::bool[], %(digests)b::text[], %(next_models)b::text[],
    %(elsewhere)b::float8[], %(tried)b::text[], %(members)b::int2[]
  ) as r(item_id, outcome, charged, delay, next_recipe, model, prompt_hash, prompt_tokens, completion_tokens,
         seconds, error_type, error, answer, checks, text, data, citations, simulated, claim, cached_tokens, cost, reused,
         digest, next_model, elsewhere, tried, members)
  where item.id = r.item_id and item.lease = %(token)s and item.status = 2
    and item.tries = r.claim  -- not a later claim of the same drain, after the item changed on its board
    and exists (select 1 from lease where token = %(token)s and expires_at > now())
  returning item.tries, nextval('attempt_id_seq') as attempt_id, r.*
), tried as (
  insert into attempt (id, item_id, number, batch_id, model, prompt_hash, prompt_tokens, completion_tokens, seconds,
                       outcome, error_type, error, answer, checks, tried, trace_id, simulated, cached_tokens, cost,
                       cached, model_digest, members)
  overriding system value
  select attempt_id, item_id, tries, %(batch)s, model, prompt_hash, prompt_tokens, completion_tokens, seconds,
         outcome, error_type, error, answer, checks::jsonb, tried, %(trace_id)s, simulated, cached_tokens, cost,
         reused, digest, members
    from moved
), accepted as (
  insert into result (item_id, attempt_id, text, data, citations, accepted_by, simulated)
  select item_id, attempt_id, text, data::jsonb, coalesce(citations, '[]')::jsonb, 'checks', simulated
    from moved where outcome = 'accepted'
), deferred as (
  insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)
  select 'item:' || m.item_id, 'item', m.item_id, s.title, m.error, m.error_type, coalesce(m.text, m.answer),
         jsonb_build_object('checks', m.checks::jsonb, 'citations', coalesce(m.citations, '[]')::jsonb,
                            'data', m.data::jsonb, 'simulated', m.simulated, 'attempts', h.attempts)
    from moved m join item_source s on s.item_id = m.item_id
    cross join lateral (
      select jsonb_agg(to_jsonb(t) order by t.number) as attempts from (
        select a.number, b.endpoint, a.model, b.recipe, a.tried, a.outcome, a.error_type, a.error, a.seconds, a.prompt_tokens,
               a.completion_tokens, a.finished_at
          from attempt a join batch b on b.id = a.batch_id where a.item_id = m.item_id
        union all
        select m.tries, b.endpoint, m.model, b.recipe, m.tried, m.outcome, m.error_type, m.error, m.seconds, m.prompt_tokens,
               m.completion_tokens, now()
          from batch b where b.id = %(batch)s) t
    ) h
   where m.outcome = 'deferred'
  on conflict (subject) where decided_at is null do update
     set reason = excluded.reason, error_type = excluded.error_type, proposal = excluded.proposal,
         details = excluded.details, opened_at = now()
)
select item_id, outcome, attempt_id from moved

-- name: close_batch
-- A batch may be settled in parts: of a provider's, what is too long goes first.
update batch set accepted = accepted + %(accepted)s, retried = retried + %(retried)s,
       deferred = deferred + %(deferred)s, returned = returned + %(returned)s, validation = %(validation)s, finished_at = now()
 where id = %(batch)s

-- name: advance
select penstock_advance(%(items)b::bigint[])

-- name: give_back
-- A drain that stops in order returns what it did not finish, uncharged.
update item set status = 1, ready = true, lease = null
 where id = any(%(items)b::bigint[]) and lease = %(token)s and status = 2

-- name: give_back_rest
-- Of a drain that ends: all that it still holds, also of a claim that was committed while it was stopped, which it has not
-- heard of. Not what a provider's batch has. In the order of ids, as everyone locks them.
with held as materialized (
  select id from item
   where lease = %(token)s and status = 2
     and not exists (select from provider_batch_item p join provider_batch b on b.id = p.provider_batch_id
                      where p.item_id = item.id and p.claim = item.tries and b.closed_at is null)
   order by id for no key update
)
update item set status = 1, ready = true, lease = null where id = any(array(select id from held))

-- name: outlook
-- What is left in scope: claimable now, claimable later (seconds until the first), held by a drain.
select count(*) filter (where ready and run_after <= now()) as now,
       count(*) filter (where ready and run_after > now()) as later,
       extract(epoch from min(run_after) filter (where ready and run_after > now()) - now())::float8 as wait,
       count(*) filter (where status = 2) as running
  from item
 where (ready or status = 2)
   and recipe = any(%(recipes)b::text[]) and (backend is null or backend = %(backend)s)
   and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))

-- name: left
-- Whether anything is left in scope: asked again and again while nothing can be claimed, so nothing is counted. What is put
-- off is looked for only where nothing is ready now.
with ready as materialized (
  select exists (select from item
                  where ready and run_after <= now()
                    and recipe = any(%(recipes)b::text[]) and (backend is null or backend = %(backend)s)
                    and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
                    and board_id <> all(%(without)b::bigint[])) as now
)
select ready.now,
       case when not ready.now then (
         select extract(epoch from min(run_after) - now()) from item
          where ready and run_after > now()
            and recipe = any(%(recipes)b::text[]) and (backend is null or backend = %(backend)s)
            and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
            and board_id <> all(%(without)b::bigint[])) end::float8 as wait,
       exists (select from item
                where lease is not null and status = 2
                  and recipe = any(%(recipes)b::text[]) and (backend is null or backend = %(backend)s)
                  and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))) as running
  from ready

-- name: undelay
-- When a drain stops because its server is gone, what it had put off may run as soon as a server is back.
with held as materialized (
  select id from item where id = any(%(items)b::bigint[]) and status = 1 and run_after > now()
   order by id for no key update
)
update item set run_after = now() from held where item.id = held.id

-- name: reroute
-- Items of a recipe that the chosen backend may not do go on as the recipe's fallback. Not where a council has spoken.
with chosen as materialized (
  select id from item
   where ready and recipe = %(recipe)s and (backend is null or backend = %(backend)s)
     and board_id = any(%(boards)b::bigint[]) and not exists (select from council k where k.item_id = item.id)
   order by id for no key update
)
update item set recipe = %(fallback)s, attempts = 0, model = named from chosen where item.id = chosen.id and item.ready

-- name: lost_recipes
-- Items of a recipe that was taken away would wait for nobody. What is pending gets another when its board is run.
select i.id, s.kind from item i join item_source s on s.item_id = i.id
 where i.status in (1, 3) and i.recipe <> all(%(known)b::text[]) order by i.id for no key update of i

-- name: adopt
update item i set recipe = g.recipe, attempts = 0, model = named
  from unnest(%(ids)b::bigint[], %(recipes)b::text[]) as g(id, recipe)
 where i.id = g.id
