-- The first schema. Hot rows (item) are narrow; what a board says lies beside them (item_source) and what
-- machines said is append-only (attempt, result). Measured reasons: docs/database.md.

create extension if not exists vector;

create table board (
  id           bigint generated always as identity primary key,
  source       text not null unique,          -- absolute path, "git:<repository>:<path>", "github:<owner>/<name>", "stdin:<hash>"
  dialect      text not null,
  encoding     text not null,
  title        text not null default '',
  sha256       text not null,                 -- of its bytes; '': its file is gone, or it was forgotten
  revision     text,                          -- the commit that it was last read at, of a board in a git repository
  validation   jsonb,                         -- Great Expectations' result for the ingested table
  delta        jsonb,                         -- what its latest version changed: added, changed, moved, removed ...
  decomposed_sha256 text,                     -- the board version whose needs and recipes are in place
  remembered_sha256 text,                     -- the board version that is in memory
  folder       text generated always as       -- ids that are needed are looked for on its boards; null: on the board alone
    (case when source !~ '^(stdin|github):' then substring(source from '^.*[/:]') end) stored,
  approve_plans boolean not null default false, -- a split waits for a person before any of its parts runs
  lane         smallint not null default 1,   -- models.enums.Lane of its items: 0 interactive, 1 normal, 2 bulk
  wip          integer,                       -- items of it that may run at once; null: any number
  held_by      uuid,                          -- the run that was paused or cancelled and had it last: nothing of it is begun
  ingested_at  timestamptz not null default now()
);
create index board_sha256 on board (sha256); -- a file that was renamed is found by its bytes
create index board_held on board (id) where held_by is not null;

create table run (
  id           uuid primary key,
  started_at   timestamptz not null default now(),
  finished_at  timestamptz,
  state        text not null default 'running',   -- models.run.RunState
  wish         text,                          -- pause, cancel: what a person wants of it while it runs
  wished_by    text not null default '',
  stage        text not null default 'ingest', -- models.run.Stage that it has come to
  flow_run_id  text,                          -- of the pipeline, in Prefect: its process is in the table process
  board_ids    bigint[] not null default '{}',
  backend      text,
  endpoint     text,
  model        text,
  error        text,
  params       jsonb not null default '{}'
);

create table recipe (
  hash          text primary key,             -- sha256 of the file's bytes
  name          text not null,
  text          text not null,
  first_used_at timestamptz not null default now()
);

create sequence lease_token as bigint;

create table lease (
  resource     text primary key,              -- "<backend> <url>": one drain per endpoint
  backend      text not null,
  token        bigint not null,               -- fencing token: grows with every take-over
  holder       text not null,                 -- host, pid namespace, pid, start time: lets a dead holder be seen
  model        text,
  device       text,                          -- whose seats it uses; null: the endpoint has a device of its own
  want         smallint not null default 0,   -- seats of the device that it could use now
  weight       smallint not null default 1,   -- seats that one of its requests takes
  seated_at    timestamptz,                   -- since when it has seats; null: since `idle_at` it has none
  idle_at      timestamptz not null default now(),
  acquired_at  timestamptz not null default now(),
  expires_at   timestamptz not null
) with (fillfactor = 50);

-- Which process does a flow run, from its start to its end: so that a run whose process died is known. What lies here
-- of a process that was killed is taken away by upkeep.
create table process (
  flow_run_id  text primary key,              -- Prefect's
  holder       text not null,                 -- as in lease
  seen_at      timestamptz not null default now() -- its latest sign of life, one a minute: of use to other machines
);

-- Requests that a device takes at once over all endpoints on it. A seat is free when its token is no live lease's.
create table seat (
  device       text not null,
  number       smallint not null,
  token        bigint,                        -- fencing token of the lease that uses it; null: free
  primary key (device, number)
) with (fillfactor = 50);

-- What is known of an endpoint that outlives a drain: how many requests at once it bears now.
create table endpoint (
  resource     text primary key,              -- as in lease
  backend      text not null,
  url          text not null,
  device       text,
  slots        smallint not null,             -- as declared
  allowed      real not null,                 -- requests at once, between 1 and slots (tasks/execute/pace.py)
  held_until   timestamptz,                   -- `allowed` is not raised before
  reason       text not null default '',      -- of its latest change, in words
  changed_at   timestamptz not null default now()
);

-- What is known of a model on an endpoint: how long it takes to load and to answer, and its breaker.
create table model_state (
  resource     text not null,
  model        text not null,
  load_seconds real,                          -- smoothed; null: never seen
  loads        integer not null default 0,
  item_seconds real,                          -- smoothed time of one answer; null: never seen
  failures     smallint not null default 0,   -- in a row that count for the breaker
  open_until   timestamptz,                   -- the breaker: nobody asks before; then one drain tries once
  trial        bigint,                        -- fencing token of the drain that tries
  error        text,                          -- of the latest failure
  primary key (resource, model)
) with (fillfactor = 50);

-- Models that take memory of a device, and who asked for it.
create table residency (
  resource     text not null,
  model        text not null,
  device       text not null,
  memory       real not null,                 -- GiB; 0: not declared
  state        text not null,                 -- wanted, loading, loaded, unloading
  token        bigint not null,               -- of the lease under which it got so
  since        timestamptz not null default now(),
  used_at      timestamptz not null default now(),
  primary key (resource, model)
);
create index residency_device on residency (device);

-- What people (or a limit) stopped: nothing of it is claimed.
create table pause (
  kind         text not null,                 -- board, model, endpoint, backend, device, recipe
  name         text not null,                 -- board.source, a model's name, a resource ...; of a recipe on one model "recipe model"
  until        timestamptz,                   -- null: until it is resumed
  reason       text not null default '',
  by           text not null default '',
  at           timestamptz not null default now(),
  primary key (kind, name)
);

-- What workers of one account share: a key, its limits, and the rest that its provider asked for.
create table account (
  name         text primary key,
  cooldown_until timestamptz,
  reason       text not null default '',
  minute       timestamptz,                   -- the minute that the two counts are of
  minute_requests integer not null default 0,
  minute_tokens bigint not null default 0
) with (fillfactor = 50);

create table spend (
  account      text not null,
  day          date not null,                 -- in the configured time zone
  requests     integer not null default 0,
  tokens       bigint not null default 0,
  usd          double precision not null default 0,
  unpriced     integer not null default 0,    -- of requests, those whose cost is not known: not in usd
  warned       text[] not null default '{}',  -- limits of which 80 % were used up, and that was said
  primary key (account, day)
) with (fillfactor = 50);

-- Of spend, what drains have asked for and not yet reported: estimates, of which some comes back. What a drain that died
-- had reserved stays spent: its requests may have been answered.
create table reservation (
  account      text not null,
  day          date not null,
  token        bigint not null,               -- fencing token of the drain's lease
  requests     integer not null,
  tokens       bigint not null,
  usd          double precision not null,
  primary key (account, day, token)
) with (fillfactor = 50);

-- Answers of a recipe by a model that were not accepted, in a row: at a limit it is struck (a pause and a review).
create table streak (
  recipe       text not null,
  model        text not null,
  failures     integer not null default 0,
  items        bigint[] not null default '{}', -- different ones
  error        text,                          -- the latest
  primary key (recipe, model)
) with (fillfactor = 50);

-- How well a model answers several items of a recipe in one request (tasks/execute/pack_record.py).
create table packing (
  recipe       text not null,
  model        text not null,
  asked        integer not null default 0,    -- items that were asked with others lately
  bad          integer not null default 0,    -- of them, those that had to be asked alone for it
  calls        bigint not null default 0,     -- all requests with several items
  members      bigint not null default 0,     -- all items in them
  primary key (recipe, model)
) with (fillfactor = 50);

create table item (
  id           bigint generated always as identity primary key,
  board_id     bigint not null references board on delete cascade,
  parent_id    bigint,                        -- an item of this board; no reference: checking one a row is a fifth of an ingest
  key          uuid not null,                 -- stable identity within the board over re-ingests
  position     integer not null,
  status       smallint not null default 0,   -- models.enums.Status
  ready        boolean not null default false,-- status = ready, apart so that only claiming and requeueing touch the index
  priority     smallint not null default 2,   -- 0 highest .. 4 lowest
  lane         smallint not null default 1,   -- its board's
  hurried      boolean not null default false,-- its deadline is near
  deadline     timestamptz,                   -- as the board says
  urgency      smallint not null generated always as -- what is smaller runs first
    (lane * 10 + case when hurried then 0 else priority + 1 end) stored,
  length       smallint not null default 0,   -- of its text, as a power of two: the longest of a prefix runs first
  recipe       text,                          -- null: a container or nothing to run
  backend      text,                          -- null: any
  model        text,                          -- which is asked; null: the endpoint's
  named        text,                          -- the one that the board names: after failures `model` may be another
  avoid        text,                          -- the resource that failed on it: another endpoint's, while one is alive
  run_after    timestamptz not null default now(), -- since when it may be claimed: what max_wait is counted from
  attempts     smallint not null default 0,   -- charged to the item
  tries        smallint not null default 0,   -- all of them: numbers the rows of attempt
  tried_before smallint not null default 0,   -- of them, those before it began anew
  lease        bigint,                        -- fencing token of the drain that runs it
  rollup       boolean not null default true, -- if it has parts: their results are to be put together into one
  rolled_of    bigint,                        -- which results that was asked for: penstock_parts when it became ready
  again        boolean not null default false, -- asked again while its accepted answer stands (tasks/runs/again.py)
  unique (board_id, key)
) with (fillfactor = 70);
-- In the order of claims: groups first, then urgency, then boards (taken in turn), then what shares a prompt prefix.
create index item_ready on item (coalesce(backend, ''), recipe, coalesce(model, ''), urgency, board_id,
                                 coalesce(parent_id, 0), length desc, id) where ready;
create index item_waiting on item (coalesce(backend, ''), recipe, coalesce(model, ''), run_after) where ready;
create index item_board_waiting on item (board_id, coalesce(backend, ''), recipe, coalesce(model, ''), run_after)
  where ready;
create index item_deadline on item (deadline) where deadline is not null and not hurried and status < 2;
create index item_ready_order on item (priority, id) where ready;
create index item_parent on item (parent_id, id); -- backwards it finds an open child at once: drains go by id
create index item_running on item (lease) where lease is not null;

create table item_source (
  item_id      bigint primary key references item on delete cascade,
  ext_id       text,
  kind         text not null,
  title        text not null,
  body         text not null default '',
  line         integer not null,
  depth        smallint not null default 0,
  declared     text not null,                 -- models.enums.Declared
  labels       jsonb not null default '{}',
  needs        text[] not null default '{}',  -- as written: ext ids or "line:<n>"
  content_hash text not null,                 -- of title, body, kind: a change means work anew
  origin       text not null default 'board', -- board, phase (a barrier the board only implies), document (as a whole), split (a part)
  complexity   smallint,                      -- 1 to 10 (tasks/decompose/complexity.py); null: not known, or plainly small
  removed_at   timestamptz                    -- no longer on the board; history kept, parent_id cleared
);
create index item_source_ext_id on item_source (lower(ext_id)) where ext_id is not null and removed_at is null;
create index item_source_split on item_source (item_id) where origin = 'split'; -- each ingest looks for them
create index item_source_removed on item_source (item_id) where removed_at is not null; -- lists leave them out

create table need (
  item_id      bigint not null references item on delete cascade,
  needs_id     bigint not null references item on delete cascade,
  primary key (item_id, needs_id)
);
create index need_needs on need (needs_id);

-- Ids that items need and their own board has not: looked for on the boards of the folder, anew when one changes.
create table wanted (
  id           bigint generated always as identity primary key,
  board_id     bigint not null references board on delete cascade,
  folder       text not null,
  item_id      bigint not null references item on delete cascade,
  reference    text not null,                 -- lower case
  needs_id     bigint references item on delete cascade -- null: no board of the folder has it
);
create index wanted_board on wanted (board_id);
create index wanted_reference on wanted (folder, reference);
create index wanted_needs on wanted (needs_id);

-- Items of one board need items of another. Whoever moves the frontier of a board holds those of the boards that need
-- it, too. A new row is written under the exclusive lock penstock_lock_links, so that nobody moves on without it.
create table board_link (
  item_board   bigint not null references board on delete cascade,
  needs_board  bigint not null references board on delete cascade,
  ring         boolean not null default false, -- a need was cut to open a ring: looked at again when another board changes
  primary key (item_board, needs_board)
);
create index board_link_needs on board_link (needs_board);

-- Boards to decompose again though they did not change: something on another board did. Rows are only added, and
-- taken by whoever decomposes the board, so that nobody waits for anybody.
create table look_again (
  id           bigint generated always as identity primary key,
  board_id     bigint not null references board on delete cascade
);
create index look_again_board on look_again (board_id);

-- Which item does a work. The primary key is what refuses duplicates, whoever comes at the same time. No reference to
-- the item: checking one a row costs more than the row; who is gone owns nothing.
create table work_key (
  fingerprint  uuid primary key,              -- of recipe, title, body and the titles above (tasks/decompose/duplicates.py)
  item_id      bigint not null,
  claimed_at   timestamptz not null default now()
);
create index work_key_item on work_key (item_id);

-- Items that are not run, because another does the same work: the one that has its key.
create table duplicate (
  item_id      bigint primary key references item on delete cascade,
  fingerprint  uuid not null
);
create index duplicate_fingerprint on duplicate (fingerprint);

create table finding (
  id           bigint generated always as identity primary key,
  board_id     bigint not null references board on delete cascade,
  stage        text not null,                 -- parse, ingest, decompose, near: each stage replaces its own
  code         text not null,
  severity     text not null,
  line         integer not null,
  message      text not null
);
create index finding_board on finding (board_id, stage);

create table batch (
  id           bigint generated always as identity primary key,
  lease        bigint not null,
  backend      text not null,
  endpoint     text not null,
  model        text not null,
  recipe       text not null,
  recipe_hash  text not null references recipe,
  size         integer not null,
  accepted     integer not null default 0,
  retried      integer not null default 0,
  deferred     integer not null default 0,
  returned     integer not null default 0,    -- gave back to the queue uncharged (infrastructure)
  validation   jsonb,
  explores     boolean not null default false, -- asked of a model that was not the recipe's best (tasks/execute/routing.py)
  flow_run_id  text,
  started_at   timestamptz not null default now(),
  finished_at  timestamptz
);
create index batch_version on batch (recipe, recipe_hash, id);

create table attempt (
  id                bigint generated always as identity primary key,
  item_id           bigint not null references item on delete cascade,
  number            smallint not null,
  batch_id          bigint not null references batch,
  model             text not null,
  model_digest      text,
  prompt_hash       text not null,
  prompt_tokens     integer,
  completion_tokens integer,
  cached_tokens     integer,                  -- of prompt_tokens, those that the server had read before
  cost              double precision,         -- in US dollars; null: not known
  seconds           real not null,
  outcome           text not null,            -- accepted, retry, fallback, deferred, failed, returned
  error_type        text,
  error             text,
  answer            text,
  checks            jsonb,                    -- failed checks with their words
  tried             text,                     -- what was otherwise than at a first try; null: nothing
  trace_id          text,
  simulated         boolean not null default false,
  cached            boolean not null default false,  -- no call was made for it: its tokens were paid for another one
  members           smallint,                 -- items of its request, where there were several: tokens are its share
  finished_at       timestamptz not null default now(),
  unique (item_id, number)
);
create index attempt_batch on attempt (batch_id);

-- Which accepted answer there is to a request (tasks/execute/calls.py). The answer itself stays in its attempt; of one
-- that is gone with its item the row is no hit, and upkeep drops it in time.
create table answer_cache (
  key           bytea primary key,            -- sha256 of all that was asked, of which model
  attempt_id    bigint not null,
  finish_reason text not null,
  at            timestamptz not null default now()
);
create index answer_cache_at on answer_cache using brin (at);

-- A batch that a provider answers later (tasks/execute/provider_batch.py). The row is there before anything is sent, with
-- a label that the provider keeps: who finds it without an id looks for its label.
create table provider_batch (
  id           bigint generated always as identity primary key,
  batch_id     bigint not null references batch,
  resource     text not null,                 -- the endpoint, as in lease
  label        text not null unique,
  provider_id  text,                          -- the provider's own id; null: not known to be there
  model        text not null,
  recipe       text not null,
  token        bigint not null,               -- of the lease under which it is looked after
  size         integer not null,              -- requests
  done         integer not null default 0,    -- of them, as the provider says
  state        text not null default 'sending', -- sending, running; then ended, failed, expired, cancelled, lost, dropped
  detail       text not null default '',      -- why it failed, in words
  created_at   timestamptz not null default now(),
  submitted_at timestamptz,
  polled_at    timestamptz,
  closed_at    timestamptz                    -- its items were settled or given back
);
create index provider_batch_open on provider_batch (resource) where closed_at is null;

-- What was asked, as it must be known when the answers come; gone when they are settled. As JSON in text: a board may
-- have what jsonb refuses.
create table provider_batch_item (
  provider_batch_id bigint not null references provider_batch on delete cascade,
  item_id      bigint not null references item on delete cascade,
  claim        smallint not null,             -- item.tries: after another claim the answer is not wanted
  item         text not null,                 -- as it was claimed
  prompt       text not null,
  simulated    boolean not null default false,-- what the answer is made from is
  primary key (provider_batch_id, item_id)
);
create index provider_batch_item_item on provider_batch_item (item_id);

create table result (
  id            bigint generated always as identity primary key,
  item_id       bigint not null references item on delete cascade,
  attempt_id    bigint references attempt on delete set null,
  text          text not null,
  data          jsonb,
  citations     jsonb not null default '[]',
  accepted_by   text not null,                -- checks, person, children
  simulated     boolean not null default false,
  remembered    boolean not null default false,
  accepted_at   timestamptz not null default now(),
  superseded_at timestamptz
);
create unique index result_current on result (item_id) where superseded_at is null;
create index result_to_remember on result (id) where not remembered and not simulated and superseded_at is null;
create index result_to_forget on result (id) where remembered and superseded_at is not null;

create table review (
  id           bigint generated always as identity primary key,
  subject      text not null,                 -- "item:<id>", "document:<repo>:<path>", "strike:<recipe>:<model>"
  kind         text not null,                 -- item, plan, document, strike
  item_id      bigint references item on delete cascade,
  title        text not null,
  reason       text not null,
  error_type   text not null,
  proposal     text,                          -- the last answer, or what the machine would do
  patch_path   text,
  details      jsonb not null default '{}',
  opened_at    timestamptz not null default now(),
  decision     text,
  text         text,                          -- the person's text where the decision is edit
  note         text,
  decided_by   text,
  decided_at   timestamptz
);
create unique index review_open on review (subject) where decided_at is null;
create index review_item on review (item_id);

-- An item whose recipe asks several: its parts are their opinions. Gone when the item's parts are.
create table council (
  item_id      bigint primary key references item on delete cascade,
  recipe       text not null,                 -- the one that puts the opinions together
  quorum       smallint not null,             -- how many must have answered
  asked_at     timestamptz not null default now()
);

-- What a council came to. Accepted while its result is; before that a proposal, while its review is open.
create table decision_record (
  id           bigint generated always as identity primary key,
  item_id      bigint not null references item on delete cascade,
  attempt_id   bigint references attempt on delete set null, -- the synthesis; null: a person wrote it
  result_id    bigint references result on delete set null,
  review_id    bigint references review on delete set null,
  question     text not null,
  decision     text not null,
  reasons      jsonb not null default '[]',   -- texts
  risks        jsonb not null default '[]',   -- {risk, level}
  risk         text not null,                 -- the highest that the decision or a member names
  confidence   real,                          -- tasks/council/combine.py; null: a person wrote it
  claimed      real,                          -- the synthesis' own word
  agreement    real,                          -- of who answered, the share that supports it
  members      jsonb not null default '[]',   -- {name, item, result, model, recipe_hash, position, says, confidence, missing}
  citations    jsonb not null default '[]',
  recipe       text not null,
  recipe_hash  text not null,
  calls        integer not null default 0,    -- of members and synthesis, retries too
  prompt_tokens bigint not null default 0,
  completion_tokens bigint not null default 0,
  cost         double precision,              -- US dollars, as far as known
  began_at     timestamptz,                   -- the first call
  created_at   timestamptz not null default now(),
  approved_by  text,                          -- the person who accepted or wrote it; null: the checks did
  edited       boolean not null default false,
  simulated    boolean not null default false
);
create index decision_record_item on decision_record (item_id);
create index decision_record_result on decision_record (result_id);
create index decision_record_review on decision_record (review_id);

create table node (
  id            bigint generated always as identity primary key,
  kind          text not null,                -- document, plan (a part of a document with items in it), answer
  source        text not null,                -- board.source, or "item:<id>"
  cite          text not null,                -- "docs/ops.md:12-18"
  heading       text not null default '',
  text          text not null,
  tsv           tsvector generated always as (to_tsvector('russian', heading || ' ' || text)) stored,
  embedding     halfvec(768) not null,
  encoder       text not null,                -- what made the embedding; never compared across encoders
  board_id      bigint references board on delete cascade,
  result_id     bigint references result on delete cascade,
  line_start    integer,
  line_end      integer,
  content_hash  text not null,
  indexed       boolean not null default false, -- in the HNSW index; recent rows are searched exactly
  valid_from    timestamptz not null default now(),
  superseded_at timestamptz
);
-- Vectors stay in the row and texts leave it first: comparing thousands of recent vectors must not fetch each by TOAST.
alter table node alter column embedding set storage main;
create index node_hnsw on node using hnsw (embedding halfvec_cosine_ops) with (m = 16, ef_construction = 100)
  where indexed and superseded_at is null;
create index node_tsv on node using gin (tsv) where superseded_at is null;
create index node_recent on node (id) where not indexed and superseded_at is null;
create index node_board on node (board_id) where superseded_at is null;
create index node_result on node (result_id) where superseded_at is null; -- a long answer is several nodes

create table doc_sync (
  repo         text primary key,
  branch       text not null,
  last_commit  text not null,
  synced_at    timestamptz not null default now()
);

create table issue (
  repository   text not null,                 -- "owner/name"
  number       bigint not null,
  updated_at   timestamptz not null,          -- GitHub's: an older state that arrives late changes nothing
  removed      boolean not null default false,   -- deleted or transferred; kept, so that nothing late brings it back
  fields       jsonb not null,                -- of its latest payload, as sources/github_issues.py reads them
  primary key (repository, number)
);

create table delivery (
  id           text primary key,              -- the sender's delivery id: the same one starts one run
  source       text not null,                 -- github, standard, upload
  parameters   jsonb not null default '{}',   -- of the run it starts: kept, so that a crash before that loses nothing
  flow_run_id  text,
  received_at  timestamptz not null default now()
);

-- The frontier. Only these functions turn pending into ready and finish containers. They hold the board's
-- advisory lock to the end of the transaction, so that of two drains which settle siblings at the same time the
-- second sees what the first did (this needs read committed); call them last, right before commit. They never
-- wait for a row while they hold it: whoever has a pending item locked calls penstock_advance_board before its own
-- commit. Numbers: models.enums.Status; settled = done 4, cancelled 6, skipped 7.
--
-- A container whose parts are all settled ends as they did; one of them done: done. Where it wants a synthesis
-- (item.rollup) and a part has an accepted result, it becomes ready once more instead, with the recipe `rollup`, and
-- counts as settled only when that is. Its results, not its parts, are then what may go stale: `rolled_of`.
--
-- Parts of a council may also end as failed (5): they are missing then. It always wants its synthesis, with its own recipe;
-- where fewer than its quorum are done, a person is asked instead.

create function penstock_lock_frontier(board bigint) returns void language sql as
$$ select pg_advisory_xact_lock(hashtextextended('penstock.frontier', board)) $$;

-- For whoever adds a row to board_link: waits until nobody moves a frontier, and nobody does before the commit.
create function penstock_lock_links() returns void language sql as
$$ select pg_advisory_xact_lock(hashtextextended('penstock.links', 0)) $$;

-- The frontiers of these boards and of all whose items need theirs, in one order for everybody; gives their ids. An
-- item that waits for items of two boards is so never missed by both: each holds the frontier of the item's board.
create function penstock_lock_frontiers(boards bigint[]) returns bigint[] language plpgsql as $$
declare
  b bigint;
  linked bigint[];
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('penstock.links', 0));
  select array_agg(id order by id) into linked
    from (select unnest(boards) as id union select item_board from board_link where needs_board = any(boards)) l;
  foreach b in array coalesce(linked, '{}') loop
    perform penstock_lock_frontier(b);
  end loop;
  return coalesce(linked, '{}');
end $$;

-- These items no longer do their work: whoever was refused for it is looked at again. In the order of fingerprints, as
-- they are claimed.
create function penstock_release_work(items bigint[]) returns void language plpgsql as $$
declare
  freed uuid[];
begin
  with mine as materialized (
    select fingerprint from work_key where item_id = any(items) order by fingerprint for update
  ), gone as (
    delete from work_key k using mine where k.fingerprint = mine.fingerprint returning k.fingerprint
  )
  select array_agg(fingerprint) into freed from gone;
  if freed is not null then  -- a statement of its own: it sees who was refused while this waited for the key
    insert into look_again (board_id)
    select distinct i.board_id from duplicate d join item i on i.id = d.item_id where d.fingerprint = any(freed);
  end if;
end $$;

-- Which results a container's synthesis is made from, as one number; null where no part has a result.
create function penstock_parts(container bigint) returns bigint language sql stable as
$$ select hashtextextended(string_agg(r.id::text, ',' order by r.id), 0)
     from item c join result r on r.item_id = c.id and r.superseded_at is null
    where c.parent_id = container and c.status = 4 $$;

-- Ask a person about councils of which too few answered. They wait already.
create function penstock_without_quorum(items bigint[]) returns void language sql as
$$ insert into review (subject, kind, item_id, title, reason, error_type, details)
   select 'item:' || k.item_id, 'item', k.item_id, s.title,
          format('%s of %s members of its council answered, %s must. Missing: %s. What the others say: `penstock items show '
                 '%s`. Write the decision (edit), or have the missing ones asked again (retry).',
                 g.heard, g.asked, k.quorum, g.missing, k.item_id),
          'council', jsonb_build_object('heard', g.heard, 'asked', g.asked)
     from council k join item_source s on s.item_id = k.item_id
    cross join lateral (
      select count(*) as asked, count(*) filter (where c.status = 4) as heard,
             string_agg(coalesce(m.labels ->> 'member', m.title) || ' (' || coalesce(left(a.error, 200), 'no answer') || ')', ', '
                        order by c.id) filter (where c.status <> 4) as missing
        from item c join item_source m on m.item_id = c.id
        left join lateral (select error from attempt where item_id = c.id order by number desc limit 1) a on true
       where c.parent_id = k.item_id) g
    where k.item_id = any(items)
   on conflict (subject) where decided_at is null do update set reason = excluded.reason, details = excluded.details $$;

-- After `changed` settled (or became runnable), in the same transaction: finish parents all of whose children are
-- settled, upwards; make ready what waited only for any of these. Returns how many items became ready.
create function penstock_advance(changed bigint[]) returns integer language plpgsql as $$
declare
  level bigint[] := changed;
  touched bigint[] := changed;
  syntheses integer := 0;
  started integer;
  promoted integer;
  asking bigint[];
begin
  perform penstock_lock_frontiers(array(select distinct board_id from item where id = any(changed)));

  while cardinality(level) > 0 loop
    with parents as materialized (
      select distinct parent_id as id from item where id = any(level) and parent_id is not null
    ), finished as materialized (
      select p.id, p.rollup, k.recipe as council, k.quorum
        from parents join item p using (id) left join council k on k.item_id = p.id
       where p.recipe is null and p.status = 0
         and (select c.id from item c
               where c.parent_id = p.id and c.status not in (4, 6, 7) and (c.status <> 5 or k.item_id is null)
               order by c.id desc limit 1) is null
         for no key update of p skip locked
    ), weighed as materialized (
      select id, council,
             case when council is not null then coalesce(penstock_parts(id), 0) when rollup then penstock_parts(id) end as parts,
             council is not null
             and (select count(*) from item c where c.parent_id = finished.id and c.status = 4) < quorum as short
        from finished
    ), due as (
      update item set status = case when w.short then 3 else 1 end, ready = not w.short,
             recipe = coalesce(w.council, 'rollup'), rolled_of = w.parts, attempts = 0,
             tried_before = tries, model = named, run_after = now()
        from weighed w where item.id = w.id and w.parts is not null
      returning item.id, w.short
    ), rolled as (
      update item set status = case
          when exists (select from item c where c.parent_id = w.id and c.status = 4) then 4
          when exists (select from item c where c.parent_id = w.id and c.status = 7) then 7
          else 6 end
        from weighed w where item.id = w.id and w.parts is null
      returning item.id
    )
    select (select coalesce(array_agg(id), '{}') from rolled), count(*) filter (where not short),
           array_agg(id) filter (where short)
      into level, started, asking from due;
    touched := touched || level;
    syntheses := syntheses + started;
    if asking is not null then
      perform penstock_without_quorum(asking);
    end if;
  end loop;

  with candidates as materialized (
    select unnest(changed) as id
    union
    select item_id from need where needs_id = any(touched)
  ), free as materialized (
    select i.id from candidates join item i using (id)
     where i.status = 0 and i.recipe is not null
       and (select x.id from need n join item x on x.id = n.needs_id
             where n.item_id = i.id and x.status not in (4, 6, 7) order by n.needs_id desc limit 1) is null
       for no key update of i skip locked
  )
  update item set status = 1, ready = true, run_after = now() from free where item.id = free.id;
  get diagnostics promoted = row_count;
  return promoted + syntheses;
end $$;

-- The same for a whole board, and in both directions: a container with an open child is open again, a ready item
-- that lacks something waits again, a synthesis of results that were replaced is made anew (whoever works on the old
-- one loses it), and whatever waits for it on other boards follows. For whoever changed a board's structure. Returns how
-- many items became ready.
create function penstock_advance_board(board bigint) returns integer language plpgsql as $$
declare
  boards bigint[];
  moved integer;
  started integer;
  syntheses integer := 0;
  promoted integer;
  asking bigint[];
begin
  boards := penstock_lock_frontiers(array[board]);
  loop
    with rollup as materialized (
      select parent_id,
             case when not bool_and(status in (4, 6, 7)) then 0
                  when bool_or(status = 4) then 4
                  when bool_or(status = 7) then 7
                  else 6 end as status,
             bool_and(status in (4, 5, 6, 7)) as ended, count(*) filter (where status = 4) as heard,
             bool_and(status in (4, 5, 6, 7)
                      or again and exists (select from result s where s.item_id = item.id and s.superseded_at is null)) as stands
        from item where board_id = board and parent_id is not null group by parent_id
    ), weighed as materialized (
      select r.parent_id as id, k.recipe as council, coalesce(r.heard < k.quorum, false) as short, r.stands,
             case when k.item_id is null then r.status when r.ended then 4 else 0 end as status,
             case when k.item_id is not null then case when r.ended then coalesce(penstock_parts(p.id), 0) end
                  when r.status = 4 and p.rollup then penstock_parts(p.id) end as parts
        from rollup r join item p on p.id = r.parent_id left join council k on k.item_id = p.id
       where p.recipe is null or p.recipe = coalesce(k.recipe, 'rollup')
    ), due as materialized (
      select p.id, p.recipe as was, w.status, w.parts, w.council, w.short
        from weighed w join item p using (id)
       where case when w.parts is not null then p.recipe is null or p.rolled_of is distinct from w.parts
                  when p.recipe is null then p.status <> w.status
                  -- Parts that are asked again have their answers until then, and so has what was made of them.
                  else (w.status <> 4 and not (w.stands and p.status = 4)) or (w.status = 4 and (p.rollup or p.status in (0, 1))) end
         for no key update of p skip locked
    ), written as (
      update item set status = case when d.parts is null then d.status when d.short then 3 else 1 end,
             ready = d.parts is not null and not d.short,
             recipe = case when d.parts is not null then coalesce(d.council, 'rollup') end,
             rolled_of = d.parts, lease = null, attempts = 0,
             tried_before = tries, model = named, run_after = now()
        from due d where item.id = d.id
      returning item.id, d.was, d.parts, d.short
    ), undone as (
      update result r set superseded_at = now()
        from written w where w.was is not null and r.item_id = w.id and r.superseded_at is null
    ), closed as (
      update review v set decision = 'superseded', note = 'its parts changed', decided_by = 'penstock', decided_at = now()
        from written w where w.was is not null and v.item_id = w.id and v.decided_at is null
    )
    select count(*), count(*) filter (where parts is not null and not short), array_agg(id) filter (where short and parts is not null)
      into moved, started, asking from written;
    syntheses := syntheses + started;
    if asking is not null then
      perform penstock_without_quorum(asking);
    end if;
    exit when moved = 0;
  end loop;

  -- A subquery per item and no join: right after a large ingest there are no statistics, and a join of two
  -- estimates of one row each is a nested loop over all pairs.
  with looked_at as materialized (
    select i.id, i.status,
           (select x.id from need n join item x on x.id = n.needs_id
             where n.item_id = i.id and x.status not in (4, 6, 7) order by n.needs_id desc limit 1) is null as free
      from item i
     where i.board_id = any(boards) and i.status in (0, 1) and i.recipe is not null
  ), due as materialized (
    select i.id, l.free from looked_at l join item i using (id)
     where (l.status = 0) = l.free and i.status = l.status
       for no key update of i skip locked
  ), moved as (
    update item set status = due.free::int, ready = due.free, run_after = now()
      from due where item.id = due.id returning due.free
  )
  select count(*) filter (where free) into promoted from moved;
  return promoted + syntheses;
end $$;
