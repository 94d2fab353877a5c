-- Accepted answers that are found again by what was asked. Owner: tasks/execute/reuse.py.

-- name: known
-- Of a batch, the items whose request has an accepted answer, and those that a person looked at: who asks for another
-- answer, or did not like the one that there was, is not to get it again.
select q.item_id, d.anew, a.answer, a.model, c.finish_reason, a.prompt_tokens, a.completion_tokens, a.seconds, a.simulated,
       a.item_id, c.at
  from unnest(%(items)b::bigint[], %(keys)b::bytea[]) as q(item_id, key)
 cross join lateral (
   select exists (select from review r
                   where r.item_id = q.item_id and r.decision is not null and r.decision <> 'accept') as anew) d
  left join answer_cache c on c.key = q.key and c.at > now() - %(days)s::int * interval '1 day'
  left join attempt a on a.id = c.attempt_id
 where d.anew or a.answer is not null

-- name: keep
-- The latest accepted answer counts. Each key once.
insert into answer_cache (key, attempt_id, finish_reason)
select * from unnest(%(keys)b::bytea[], %(attempts)b::bigint[], %(finish)b::text[])
on conflict (key) do update set attempt_id = excluded.attempt_id, finish_reason = excluded.finish_reason, at = now()

-- name: expire
delete from answer_cache where at <= now() - %(days)s::int * interval '1 day'

-- name: clear
delete from answer_cache

-- name: size
select count(*), min(at) from answer_cache

-- name: uses
-- Per recipe and model: attempts that got an answer, and those of them for which no call was made.
select b.recipe, coalesce(nullif(a.model, ''), b.model), count(*),
       count(*) filter (where a.cached and a.checks @> '[{"check": "cached"}]'),
       count(*) filter (where a.cached and a.checks @> '[{"check": "shared"}]'),
       coalesce(sum(coalesce(a.prompt_tokens, 0) + coalesce(a.completion_tokens, 0)) filter (where a.cached), 0)::bigint,
       bool_or(a.simulated)
  from attempt a join batch b on b.id = a.batch_id
 where a.answer is not null and a.finished_at >= now() - %(days)s::int * interval '1 day'
 group by 1, 2 order by 3 desc, 1, 2
