//! What every [`Store`] does; an implementation calls
//! [`store_conformance!`](crate::store_conformance) with a way to make an empty database.
//!
//! One file per theme. Cases fold real commands with the real machine, so that a store is shown
//! what it will be shown in production.
#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

pub mod checkpoints;
pub mod claims;
pub mod durability;
pub mod feed;
pub mod fences;
pub mod folding;
pub mod outputs;
pub mod plans;
pub mod premises;
pub mod publications;
pub mod retention;
pub mod reuse;
pub mod sessions;
pub mod snapshots;
pub mod submission;
pub mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use serde_json::{Value, json};
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::definition::{
    ActivityRef, Cache, Definition, Expr, Need, OnFailure, Requires, RetryPolicy, StepDef,
    Template, Timeouts,
};
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::machine::{self, Changes, Command, Facts, Rejected, View};
use telecine_engine::objects::{Artifact, StoredArtifact};
use telecine_engine::queue::{Free, Kind, Machine, Queue, Ticket, Turns};
use telecine_engine::run::{
    Attempt, Failure, RecordedEvent, Run, RunStatus, Step, StepStatus, StoreUrls,
};
use telecine_engine::store::{
    Admission, Claim, ClaimRequest, Created, DefinitionRecord, Fence, NewRun, Outcome, StepSet,
    Store, Transaction, ViewRows,
};

/// The activity of every step of the suite.
const ACTIVITY: &str = "test.step@1";
/// Longer than any case takes.
const LEASE: Duration = Duration::from_secs(600);

/// One database, empty at first.
#[async_trait]
pub trait StoreFactory: std::fmt::Debug + Send + Sync {
    /// A store on the database. Each call is like another process that opens it.
    async fn open(&self) -> Arc<dyn Store>;
}

/// A store under test, and how to make another one on the same database.
#[derive(Debug)]
pub struct Bench {
    store: Arc<dyn Store>,
    factory: Box<dyn StoreFactory>,
}

/// A run that was submitted, and what it executes.
#[derive(Debug)]
struct Job {
    id: RunId,
    definition: Arc<Definition>,
    /// What a plan that is executed gives it instead.
    next: Option<Arc<Definition>>,
}

impl Bench {
    /// A bench on an empty database.
    pub async fn new(factory: impl StoreFactory + 'static) -> Self {
        let factory = Box::new(factory);
        Self {
            store: factory.open().await,
            factory,
        }
    }

    /// Closes the store and opens the database again.
    async fn reopen(self) -> Self {
        drop(self.store);
        Self {
            store: self.factory.open().await,
            factory: self.factory,
        }
    }

    /// Submits a workflow as a new run and starts it.
    async fn submit(&self, definition: Definition) -> Job {
        let run = queued(&definition, json!({}));
        self.submit_run(definition, run).await
    }

    async fn submit_run(&self, definition: Definition, run: Run) -> Job {
        self.store
            .save_definition(&record(&definition))
            .await
            .unwrap();
        let job = Job {
            id: run.id.clone(),
            definition: Arc::new(definition),
            next: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        let now = tx.now().await.unwrap();
        let new = machine::plan_run(run, &job.definition, now);
        assert_eq!(create(tx.as_mut(), &new, true).await, Created::New);
        fold(tx.as_mut(), &job, &Command::Start, TimeDelta::zero())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        job
    }

    /// Folds a command and what follows from it, in one transaction.
    async fn fold(&self, job: &Job, command: Command) -> Result<(), Rejected> {
        self.fold_at(job, command, TimeDelta::zero()).await
    }

    /// As `fold`, with a clock that is off by `shift`.
    async fn fold_at(&self, job: &Job, command: Command, shift: TimeDelta) -> Result<(), Rejected> {
        let mut tx = self.store.begin().await.unwrap();
        let folded = fold(tx.as_mut(), job, &command, shift).await;
        if folded.is_ok() {
            tx.commit().await.unwrap();
        }
        folded
    }

    /// A live session.
    async fn session(&self) -> SessionId {
        let id = SessionId::generate();
        self.store
            .open_session(&id, "conformance", LEASE)
            .await
            .unwrap();
        id
    }

    /// Claims up to `limit` steps of any run.
    async fn claim(&self, session: &SessionId, limit: usize) -> Vec<Claim> {
        claim(self.store.as_ref(), &request(session, limit)).await
    }

    /// Claims the one step that is ready.
    async fn claim_one(&self, session: &SessionId) -> Claim {
        let mut claims = self.claim(session, 2).await;
        assert_eq!(claims.len(), 1, "{claims:?}");
        claims.remove(0)
    }

    async fn complete(&self, job: &Job, claim: &Claim, output: Value) {
        self.complete_with(
            job,
            claim,
            Outcome {
                output,
                ..Outcome::default()
            },
        )
        .await;
    }

    async fn complete_with(&self, job: &Job, claim: &Claim, outcome: Outcome) {
        let (step, fence) = (claim.fence.step.clone(), claim.fence.fence);
        self.fold(
            job,
            Command::Complete {
                step,
                fence,
                outcome,
            },
        )
        .await
        .unwrap();
    }

    /// Fails an attempt in a way that may pass.
    async fn fail(&self, job: &Job, claim: &Claim) {
        self.fail_as(job, claim, ErrorClass::Transient).await;
    }

    async fn fail_as(&self, job: &Job, claim: &Claim, class: ErrorClass) {
        self.fold(job, failed(claim, class)).await.unwrap();
    }

    async fn step(&self, job: &Job, id: &str) -> Step {
        let which = StepSet::One(id.parse().unwrap());
        let mut tx = self.store.begin().await.unwrap();
        let mut loaded = steps(tx.as_mut(), &job.id, which).await;
        assert_eq!(loaded.len(), 1, "{id}");
        loaded.remove(0)
    }

    async fn run(&self, job: &Job) -> Run {
        self.store.load_run(&job.id).await.unwrap().unwrap()
    }

    async fn events(&self, job: &Job) -> Vec<RecordedEvent> {
        self.store.events(&job.id, 0, 100_000).await.unwrap()
    }

    /// The data of every event of a kind.
    async fn data(&self, job: &Job, kind: &str) -> Vec<Value> {
        let events = self.events(job).await.into_iter();
        events
            .filter(|event| event.event.kind == kind)
            .map(|event| event.event.data)
            .collect()
    }
}

/// Folds a command and everything that follows from it into a transaction.
async fn fold(
    tx: &mut dyn Transaction,
    job: &Job,
    command: &Command,
    shift: TimeDelta,
) -> Result<(), Rejected> {
    let rows = view(tx, &job.id).await;
    let mut view = View::new(rows, job.definition.clone());
    let mut queue = vec![command.clone()];
    while !queue.is_empty() {
        for command in std::mem::take(&mut queue) {
            view.add_steps(steps(tx, &job.id, machine::steps_needed(&command)).await);
            // Outputs are read from the store, so what was folded so far has to be there.
            save(tx, &job.id, view.flush()).await;
            let needed = machine::outputs_needed(&view, &command);
            let outputs = outputs(tx, &job.id, &needed).await;
            let now = tx.now().await.unwrap() + shift;
            let facts = Facts {
                now,
                outputs,
                definition: job.next.clone(),
            };
            machine::decide(&mut view, &command, &facts)?;
            queue.extend(view.take_follow_ups());
        }
    }
    save(tx, &job.id, view.flush()).await;
    Ok(())
}

/// Claims as the committer does, in a transaction of its own.
async fn claim(store: &dyn Store, request: &ClaimRequest) -> Vec<Claim> {
    let mut tx = store.begin().await.unwrap();
    if !tx.session_is_live(&request.session).await.unwrap() {
        return Vec::new();
    }
    let limit = request.looks_at(request.free.now());
    let waiting = match limit {
        0 => Vec::new(),
        _ => tx.waiting(request.run.as_ref(), limit).await.unwrap(),
    };
    let kinds: BTreeMap<_, _> = waiting
        .iter()
        .map(|it| ((it.run.clone(), it.step.clone()), it.ticket.kind.clone()))
        .collect();
    let found = request.choose(request.free.now(), waiting, &mut Turns::default());
    let runs: BTreeSet<RunId> = found.iter().map(|(run, _)| run.clone()).collect();
    tx.lock_runs(&runs).await.unwrap();
    let views = tx.load_views(&runs).await.unwrap();
    let mut views: BTreeMap<RunId, View> = views
        .into_iter()
        .map(|rows| (rows.run.id.clone(), View::new(rows, Arc::new(single()))))
        .collect();
    let facts = Facts {
        now: tx.now().await.unwrap(),
        ..Facts::default()
    };
    let mut claims = Vec::new();
    for (run, step) in &found {
        let view = views.get_mut(run).unwrap();
        view.add_steps(steps(tx.as_mut(), run, StepSet::One(step.clone())).await);
        let command = Command::Claim {
            step: step.clone(),
            session: request.session.clone(),
        };
        // Another worker may have been quicker.
        if machine::decide(view, &command, &facts).is_ok() {
            let kind = kinds[&(run.clone(), step.clone())].clone();
            claims.push(claimed(tx.as_mut(), view, (step, kind)).await);
        }
    }
    let changes: Vec<_> = views
        .into_iter()
        .map(|(run, mut view)| (run, view.flush()))
        .collect();
    tx.save(changes).await.unwrap();
    tx.commit().await.unwrap();
    claims
}

async fn claimed(tx: &mut dyn Transaction, view: &View, (id, kind): (&StepId, Kind)) -> Claim {
    let step = view.step(id).unwrap();
    let key = (view.run.id.clone(), id.clone());
    let checkpoints = tx
        .load_checkpoints(std::slice::from_ref(&key))
        .await
        .unwrap();
    assert_eq!(checkpoints.len(), usize::from(step.checkpoint.is_some()));
    Claim {
        fence: Fence {
            run: key.0,
            step: key.1,
            fence: step.fence,
        },
        attempt: step.attempts,
        round: view.run.round,
        activity: step.activity.clone(),
        kind,
        input: step.input.clone().unwrap(),
        definition: view.run.definition.clone(),
        stores: view.run.stores.clone(),
        checkpoint: checkpoints
            .into_iter()
            .next()
            .map(|(_, _, checkpoint)| checkpoint),
        damaged: view.amendments.damaged.get(id).cloned().unwrap_or_default(),
        age: Duration::ZERO,
    }
}

async fn create(tx: &mut dyn Transaction, new: &NewRun, force: bool) -> Created {
    let mut created = tx
        .admit_runs(&[Admission::of(&new.run, force)])
        .await
        .unwrap();
    assert_eq!(created.len(), 1);
    if created[0] == Created::New {
        tx.save(vec![insertion(new)]).await.unwrap();
    }
    created.remove(0)
}

/// The changes that put a run into the store.
fn insertion(new: &NewRun) -> (RunId, Changes) {
    let mut view = View::created(new.clone(), Arc::new(single()));
    (new.run.id.clone(), view.flush())
}

/// Header and nodes of a run that is there, locked.
async fn view(tx: &mut dyn Transaction, run: &RunId) -> ViewRows {
    let runs = BTreeSet::from([run.clone()]);
    tx.lock_runs(&runs).await.unwrap();
    let mut views = tx.load_views(&runs).await.unwrap();
    assert_eq!(views.len(), 1, "{run}");
    views.remove(0)
}

async fn steps(tx: &mut dyn Transaction, run: &RunId, which: StepSet) -> Vec<Step> {
    let loaded = tx.load_steps(&[(run.clone(), which)]).await.unwrap();
    assert!(loaded.iter().all(|(of, _)| of == run));
    loaded.into_iter().map(|(_, step)| step).collect()
}

async fn outputs(
    tx: &mut dyn Transaction,
    run: &RunId,
    nodes: &[String],
) -> BTreeMap<String, Value> {
    // As the committer asks: what the nodes tell is not asked for.
    let view = View::new(view(tx, run).await, Arc::new(single()));
    let (known, unknown): (Vec<String>, Vec<String>) = nodes
        .iter()
        .cloned()
        .partition(|node| view.output(node).is_some());
    let mut loaded = tx.load_outputs(&[(run.clone(), unknown)]).await.unwrap();
    let mut outputs = loaded.remove(run).unwrap_or_default();
    outputs.extend(known.into_iter().filter_map(|node| {
        let output = view.output(&node)?;
        Some((node, output))
    }));
    outputs
}

async fn save(tx: &mut dyn Transaction, run: &RunId, changes: Changes) {
    tx.save(vec![(run.clone(), changes)]).await.unwrap();
}

/// A workflow of steps that run `test.step@1`.
fn workflow(steps: impl IntoIterator<Item = (&'static str, StepDef)>) -> Definition {
    Definition {
        name: "test:workflow".to_owned(),
        version: 1,
        description: None,
        input: json!({"type": "object"}).into(),
        steps: steps
            .into_iter()
            .map(|(name, step)| (name.to_owned(), step))
            .collect(),
        output: Template::parse(&Value::Null).unwrap(),
    }
}

/// A workflow of one step, `only`.
fn single() -> Definition {
    workflow([("only", step(&[]))])
}

/// A workflow of one fan-out, `each`, over a list of numbers.
fn fan_out(items: usize) -> Definition {
    let list: Vec<usize> = (0..items).collect();
    workflow([(
        "each",
        StepDef {
            for_each: Some(expr(&json!(list).to_string())),
            ..step(&[])
        },
    )])
}

/// A step that needs others.
fn step(needs: &[&str]) -> StepDef {
    StepDef {
        activity: ActivityRef {
            name: "test.step".to_owned(),
            version: 1,
        },
        with: Template::parse(&json!({"behaviour": "succeed"})).unwrap(),
        needs: needs
            .iter()
            .map(|need| Need {
                step: (*need).to_owned(),
                any: false,
            })
            .collect(),
        when: None,
        for_each: None,
        on_failure: OnFailure::Fail,
        retry: RetryPolicy::default(),
        timeout: Timeouts::default(),
        requires: Requires::default(),
        queue: None,
        priority: None,
        cache: Cache::Off,
    }
}

fn expr(text: &str) -> Expr {
    Expr::parse(text).unwrap()
}

/// What writes these steps of a run and nothing else.
async fn changes_of_steps(tx: &mut dyn Transaction, run: &RunId, steps: Vec<Step>) -> Changes {
    let ViewRows { run, nodes, .. } = view(tx, run).await;
    let ready = steps.iter().filter(|step| step.status == StepStatus::Ready);
    let tickets = ready.map(|step| (step.id.node.clone(), ticket(&step.activity)));
    Changes {
        first_event: run.events + 1,
        run: Some(run),
        nodes,
        tickets: tickets.collect(),
        steps,
        ..Changes::default()
    }
}

/// What a step waits with of which nothing else is known.
fn ticket(activity: &str) -> Ticket {
    Ticket {
        kind: Kind {
            queue: Queue::Default,
            activity: activity.to_owned(),
            requires: Requires::default(),
            alone: false,
        },
        rank: 0,
    }
}

/// A definition as it is stored. Stores do not look into it.
fn record(definition: &Definition) -> DefinitionRecord {
    DefinitionRecord {
        digest: digest(definition),
        name: definition.name.clone(),
        version: definition.version,
        canonical: json!({"workflow": definition.name}).to_string(),
    }
}

fn digest(definition: &Definition) -> String {
    format!("sha256:{}", definition.name)
}

/// A run that has just been accepted. Each has a fingerprint of its own.
fn queued(definition: &Definition, input: Value) -> Run {
    let id = RunId::generate();
    Run {
        workflow: definition.name.clone(),
        version: definition.version,
        definition: digest(definition),
        status: RunStatus::Queued,
        round: 1,
        revision: 0,
        events: 0,
        input,
        fingerprint: format!("fingerprint of {id}"),
        stores: StoreUrls {
            source: "file:///uploads".to_owned(),
            media: "file:///media".to_owned(),
        },
        queue: Queue::Default,
        priority: 0,
        labels: BTreeMap::from([("team".to_owned(), "news".to_owned())]),
        output: None,
        error: None,
        created_at: chrono::DateTime::UNIX_EPOCH,
        started_at: None,
        ended_at: None,
        id,
    }
}

fn request(session: &SessionId, limit: usize) -> ClaimRequest {
    ClaimRequest {
        session: session.clone(),
        run: None,
        machine: Machine::with_slots(limit),
        free: Free::new(Machine::with_slots(limit).room()),
        activities: vec![ACTIVITY.to_owned()],
    }
}

fn failed(claim: &Claim, class: ErrorClass) -> Command {
    Command::Fail {
        step: claim.fence.step.clone(),
        fence: claim.fence.fence,
        error: failure(class),
        usage: Usage {
            cpu_s: 0.5,
            max_rss_bytes: 1 << 20,
            processors: None,
        },
        warnings: Vec::new(),
    }
}

fn failure(class: ErrorClass) -> Failure {
    Failure {
        class,
        code: "test_failure".to_owned(),
        message: "it was told to fail".to_owned(),
        step: None,
    }
}

fn artifact(key: &str) -> StoredArtifact {
    let artifact = Artifact {
        key: key.to_owned(),
        size: key.len() as u64,
        sha256: format!("hash of {key}"),
        media_type: "video/mp4".to_owned(),
    };
    StoredArtifact {
        artifact,
        etag: Some(format!("etag of {key}")),
    }
}

/// Asserts that an attempt which has ended began as it did while it ran.
fn assert_began_alike(ended: &Attempt, running: &Attempt) {
    assert!(ended.outcome.is_some() && running.outcome.is_none());
    let began = Attempt {
        outcome: None,
        ended_at: None,
        usage: None,
        error: None,
        ..ended.clone()
    };
    assert_eq!(&began, running);
}

fn ids(claims: &[Claim]) -> Vec<String> {
    claims
        .iter()
        .map(|claim| claim.fence.step.to_string())
        .collect()
}

/// Runs the suite on the database that the expression makes: a future of a
/// [`StoreFactory`](crate::conformance::store::StoreFactory), evaluated once per case. Names in the
/// expression are best absolute (`crate::...`): each theme is a module.
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance! { $factory;
            submission {
                a_run_is_read_back_as_it_was_submitted
                an_equal_request_finds_the_run_that_is_there
                a_forced_request_makes_another_run
                a_request_key_stands_for_the_run_that_took_it
                a_request_key_is_given_to_the_run_that_its_request_found
                a_request_key_of_a_transaction_that_was_dropped_is_free
                runs_are_found_by_label_hash_and_time
                equal_requests_at_once_make_one_run
                runs_are_listed_newest_first
                pages_of_a_list_follow_each_other_to_its_end
                a_run_is_found_by_the_state_that_it_is_in_now
                a_run_is_found_by_the_hash_that_its_output_says
                runs_are_listed_by_status_and_workflow
                a_definition_is_kept_once
                an_unknown_run_is_said_to_be_unknown
            }
            claims {
                a_claim_carries_what_an_attempt_needs
                the_first_claim_starts_the_run
                older_runs_and_earlier_steps_go_first
                only_activities_of_the_worker_are_claimed
                only_steps_of_the_run_asked_for_are_claimed
                no_more_steps_are_claimed_than_asked_for
                a_session_that_is_not_live_claims_nothing
                each_claim_raises_fence_attempt_and_charge
                each_step_is_claimed_once_by_many_workers
                the_age_of_a_step_is_counted_from_its_first_claim
                of_each_kind_the_lowest_ranks_wait_first
                a_step_waits_until_it_is_claimed_and_again_when_it_is_given_back
                a_step_that_lost_too_many_workers_in_a_row_waits_for_one_of_its_own
                queue_and_priority_of_a_run_are_kept
            }
            fences {
                an_attempt_that_lost_its_step_can_write_nothing
                an_attempt_of_a_cancelled_run_can_write_nothing
                an_attempt_of_a_finished_step_can_write_nothing
                a_step_made_anew_keeps_older_attempts_out
                progress_is_saved_for_those_who_own_their_step
                the_revision_of_a_run_tells_of_what_its_attempts_wrote
                a_step_keeps_its_progress_until_it_is_cleared
            }
            checkpoints {
                the_next_attempt_gets_the_latest_checkpoint
                checkpoints_are_numbered_over_all_attempts
                a_checkpoint_clears_losses_and_failures
                a_checkpoint_clears_outages
                a_dropped_checkpoint_is_not_offered
                a_checkpoint_outlives_failures_of_its_surroundings
                a_checkpoint_event_names_its_objects
                a_refused_checkpoint_is_forgotten_and_the_attempt_did_not_resume
                an_attempt_that_resumed_says_so_while_it_runs_and_when_it_has_ended
                a_checkpoint_that_grew_is_read_as_a_whole
                a_checkpoint_grows_from_the_latest_only
                a_refused_checkpoint_is_forgotten_with_what_it_grew_by
                artifacts_keep_their_order_and_are_listed_once
                an_etag_stays_known_as_long_as_the_bytes_do
            }
            sessions {
                a_live_session_is_not_dead
                a_session_is_dead_when_its_lease_is_over
                a_renewed_session_lives
                a_renewed_session_can_claim
                a_session_that_was_ended_cannot_be_renewed
                ending_a_session_releases_what_it_ran
                a_session_cannot_end_while_it_runs_something
                running_attempts_are_listed_by_session
                what_sessions_can_run_is_known_until_they_end
                a_claim_in_flight_is_seen_by_whoever_ends_its_session
                a_claim_waits_for_whoever_ends_its_session
            }
            folding {
                a_chain_runs_to_its_end
                events_are_numbered_without_gaps
                events_are_read_in_pages
                a_wide_fan_out_opens_and_closes
                a_step_keeps_every_field
                json_is_kept_exactly
                pending_steps_of_a_settled_node_take_its_state
                a_collapsed_node_is_read_anew
                attempts_outlive_the_list_that_they_were_made_for
                a_rejected_command_changes_nothing
            }
            feed {
                the_feed_has_the_events_of_all_runs_and_those_of_each_in_their_order
                pages_of_the_feed_follow_each_other_and_what_comes_later_is_behind_them
                the_feed_has_what_attempts_write_beside_the_committer
                the_feed_of_two_stores_misses_nothing
            }
            outputs {
                the_output_of_a_single_step_is_its_value
                outputs_of_a_fan_out_are_in_the_order_of_its_list
                a_fan_out_of_nothing_has_an_empty_list
                a_step_without_an_output_yields_null
                a_fan_out_that_was_never_opened_yields_null
                only_nodes_asked_for_are_answered
            }
            snapshots {
                a_snapshot_is_in_the_order_of_the_definition
                a_snapshot_has_attempts_and_how_they_ended
                a_transaction_sees_its_own_changes
                others_see_nothing_before_the_commit
                steps_are_loaded_as_asked_for
                windows_of_a_run_follow_each_other_to_its_end
                a_step_is_read_alone_with_all_that_belongs_to_it
                the_head_of_a_small_run_is_all_of_it
                the_head_of_a_wide_run_is_a_small_part_of_it
            }
            timers {
                a_backoff_is_due_when_it_is_over
                a_deadline_is_due_when_it_has_passed
                nothing_is_due_that_lies_ahead
                what_is_due_comes_oldest_first
                a_deadline_ends_with_its_attempt
                an_endless_deadline_is_never_due
            }
            publications {
                a_run_has_one_generation_of_a_name
                generations_of_a_name_count_up_over_runs
                a_generation_is_above_what_the_caller_knows_of
                publishing_moves_the_name
                publishing_again_answers_the_same
                a_run_knows_which_of_its_steps_have_published
                a_publication_never_moves_back
                a_generation_that_was_never_allocated_cannot_be_published
                generations_of_stopped_runs_are_swept_once
                what_failed_after_it_was_published_is_not_swept
                generations_asked_for_at_once_differ
            }
            retention {
                what_was_published_does_not_expire
                what_is_held_does_not_expire
                what_forgotten_runs_have_left_is_told
                the_request_of_a_forgotten_run_finds_another_one
                a_run_is_forgotten_with_all_that_is_known_of_it
                a_run_that_goes_on_is_not_forgotten
                the_feed_loses_its_oldest_entries
            }
            plans {
                a_run_without_a_plan_has_none
                the_head_of_a_plan_has_its_first_steps_and_says_how_many_there_are
                the_last_plan_saved_is_the_latest
                a_plan_is_replaced_by_its_id
                plans_that_nobody_has_proved_are_found
                every_plan_is_found_by_its_id
                of_superseded_plans_the_latest_are_kept
                what_an_executed_plan_changed_is_kept_with_the_run
                a_source_that_was_put_back_finds_the_job_that_was_made_from_it
                another_definition_replaces_the_nodes_of_a_run_and_keeps_what_both_have
                damaged_objects_are_forgotten_and_told_to_the_attempt_that_makes_them_again
                a_later_plan_supersedes_proposed_ones_only
            }
            reuse {
                what_a_key_is_made_of_is_read_with_its_step
                a_step_that_begins_anew_forgets_what_its_key_was_made_of
                who_shared_last_under_a_key_is_found
                of_too_many_keys_the_oldest_go
            }
            premises {
                what_holds_is_saved_by_one_call
                nothing_is_saved_unless_all_of_it_holds
                of_two_that_are_prepared_on_the_same_one_is_saved
                who_insists_takes_a_request_from_whoever_has_it
            }
            durability {
                what_was_committed_is_there_after_reopening
                a_transaction_that_is_dropped_changes_nothing
                a_store_goes_on_after_a_failed_transaction
                commands_of_two_stores_are_serialised
                the_change_counter_shows_commits_of_others
                the_clock_is_read_once_per_transaction
            }
        }
    };
    ($factory:expr; $($theme:ident { $($case:ident)* })*) => {
        $(
            mod $theme {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let bench = $crate::conformance::store::Bench::new($factory.await).await;
                        $crate::conformance::store::$theme::$case(bench).await;
                    }
                )*
            }
        )*
    };
}
