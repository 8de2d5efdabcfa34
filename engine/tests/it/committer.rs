#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use telecine_engine::activity::Usage;
use telecine_engine::committer::{CommitError, Committer};
use telecine_engine::id::RunId;
use telecine_engine::machine::{self, Command};
use telecine_engine::queue::{Free, Machine, Room};
use telecine_engine::run::{Run, RunStatus, StepRecord, StepStatus};
use telecine_engine::store::{Claim, ClaimRequest, Outcome};
use telecine_engine::worker::Session;

use crate::cost::{chain, submission};
use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    who_waits_gets_the_first_step_with_the_submission
    who_waits_gets_what_was_ready_before_by_looking
    a_wait_that_was_withdrawn_or_given_up_claims_nothing
    what_is_free_is_promised_once_whoever_asks
    a_step_that_succeeds_in_the_commit_that_cancels_its_job_has_succeeded
    nothing_is_refused_by_what_only_this_process_believes
    steps_of_others_are_found_without_a_ring
    a_job_was_accepted_when_the_database_says_so
}

const STEP: &str = "  only: {activity: test.act@1, with: {what: succeed, value: 1}}";

/// A wait for steps by a worker that has two slots.
fn request(session: &Session) -> ClaimRequest {
    let machine = Machine::with_slots(2);
    ClaimRequest {
        session: session.id().clone(),
        run: None,
        machine,
        free: Free::new(machine.room()),
        activities: vec!["test.act@1".to_owned()],
    }
}

fn runs(claims: &[Claim]) -> Vec<&RunId> {
    claims.iter().map(|claim| &claim.fence.run).collect()
}

/// State of a run and of its step.
async fn states(stage: &Stage, run: &RunId) -> (RunStatus, StepStatus) {
    let snapshot = stage.coordinator.store.snapshot(run).await.unwrap();
    (snapshot.run.status, snapshot.steps[0].step.status)
}

async fn who_waits_gets_the_first_step_with_the_submission(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let mut awaited = committer.wait(request(&session)).await.unwrap();
    let run = stage.submit(STEP).await;
    // Nobody has seen it ready: the submission was answered by the same commit.
    let running = (RunStatus::Running, StepStatus::Running);
    assert_eq!(states(&stage, &run).await, running);
    let claims = awaited.claims().await.unwrap();
    assert_eq!(runs(&claims), [&run]);
    committer.end_session(session.id()).await.unwrap();
}

async fn who_waits_gets_what_was_ready_before_by_looking(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let run = stage.submit(STEP).await;
    let mut awaited = committer.wait(request(&session)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), awaited.claims()).await;
    assert!(early.is_err(), "nobody has looked");
    committer.look().await;
    assert_eq!(runs(&awaited.claims().await.unwrap()), [&run]);
    committer.end_session(session.id()).await.unwrap();
}

async fn a_wait_that_was_withdrawn_or_given_up_claims_nothing(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let mut withdrawn = committer.wait(request(&session)).await.unwrap();
    committer.withdraw(session.id()).await;
    assert!(withdrawn.claims().await.unwrap().is_empty());
    drop(committer.wait(request(&session)).await.unwrap());
    let run = stage.submit(STEP).await;
    assert_eq!(states(&stage, &run).await.1, StepStatus::Ready);
    committer.end_session(session.id()).await.unwrap();
}

/// A machine with 8 GiB and slots enough, one of whose attempts takes two of them.
async fn what_is_free_is_promised_once_whoever_asks(home: Home) {
    const GIB: i64 = 1 << 30;
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let machine = Machine::new(Room {
        slots: 4,
        memory_bytes: 8 * GIB,
        disk_bytes: GIB,
        ..Room::default()
    });
    let request = ClaimRequest {
        machine,
        free: Free::new(machine.room()),
        ..request(&session)
    };
    let takes = |memory: &str| {
        format!(
            "  only: {{activity: test.act@1, requires: {{memory: {memory}}}, with: {{what: succeed, value: \"{memory}\"}}}}"
        )
    };
    let first = stage.submit(&takes("2GiB")).await;
    let claims = committer.claim(request.clone()).await.unwrap();
    assert_eq!(runs(&claims), [&first]);
    assert_eq!(request.free.now().memory_bytes, 6 * GIB);
    let mut awaited = committer.wait(request.clone()).await.unwrap();

    // It ends, and its report asks beside the one who waits: seven of the eight go to one of them.
    let second = stage.submit(&takes("7GiB")).await;
    assert_eq!(states(&stage, &second).await.1, StepStatus::Ready);
    request.free.give(machine.cost(&claims[0].kind).unwrap());
    let fence = claims[0].fence.clone();
    let report = Command::Complete {
        step: fence.step,
        fence: fence.fence,
        outcome: Outcome::default(),
    };
    let next = committer.fold_and_claim(&fence.run, report, Some(request.clone()));
    let next = next.await.unwrap();
    assert_eq!(runs(&next), [&second]);
    assert_eq!(request.free.now().memory_bytes, GIB);

    // Whoever waits knows what is left, and no more.
    let third = stage.submit(&takes("5GiB")).await;
    assert_eq!(states(&stage, &third).await.1, StepStatus::Ready);
    let fourth = stage.submit(&takes("1GiB")).await;
    assert_eq!(runs(&awaited.claims().await.unwrap()), [&fourth]);
    assert_eq!(request.free.now().memory_bytes, 0);
    assert_eq!(request.free.now().slots, 2);
    committer.end_session(session.id()).await.unwrap();
}

async fn a_step_that_succeeds_in_the_commit_that_cancels_its_job_has_succeeded(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let other = "  other: {activity: test.act@1, with: {what: succeed, value: 2}}";
    let run = stage.submit(&format!("{STEP}\n{other}")).await;
    let claims = committer.claim(request(&session)).await.unwrap();
    let fence = claims[0].fence.clone();
    let report = Command::Complete {
        step: fence.step.clone(),
        fence: fence.fence,
        outcome: Outcome::default(),
    };
    let cancel = Command::Cancel {
        by: "somebody".to_owned(),
        reason: None,
    };
    // Both wait when the committer gets to them, so that one transaction is made of them.
    let folded = tokio::join!(committer.fold(&run, report), committer.fold(&run, cancel));
    assert_eq!((folded.0.is_ok(), folded.1.is_ok()), (true, true));
    let snapshot = stage.coordinator.store.snapshot(&run).await.unwrap();
    let of = |record: &&StepRecord| record.step.id == fence.step;
    let done = snapshot.steps.iter().find(of).unwrap();
    assert_eq!(snapshot.run.status, RunStatus::Cancelled);
    assert_eq!(done.step.status, StepStatus::Succeeded);
    committer.end_session(session.id()).await.unwrap();
}

/// Each transaction that makes a run waits at its commit for as long as there is a row in `slow`, and holds
/// a lock by which it is counted.
const SLOW_DISK: &str = "
    create table slow (at_commit boolean);
    insert into slow values (true);
    create function wait_at_commit() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(abs(hashtext(tg_table_schema)));
        while exists (select from slow) loop
            perform pg_sleep(0.01);
        end loop;
        return null;
    end $$;
    create constraint trigger at_commit after insert on run
        deferrable initially deferred for each row execute function wait_at_commit();";
const AT_COMMIT: &str = "select count(*)::text from pg_locks \
    where locktype = 'advisory' and objid = abs(hashtext(current_schema()))::oid";

/// Whether so many transactions come to their commits.
async fn are_at_commit(stage: &Stage, transactions: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if stage.home.text(AT_COMMIT).await == transactions {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn a_transaction_is_prepared_while_the_one_before_becomes_durable() {
    let stage = Stage::on(Home::postgres().await).await;
    stage.home.execute(SLOW_DISK).await;
    let another = STEP.replace("value: 1", "value: 2");
    let (one, (first, other), second) = tokio::join!(
        stage.submit(STEP),
        async {
            let first = are_at_commit(&stage, "1").await;
            (first, stage.submit(&another).await)
        },
        async {
            let second = are_at_commit(&stage, "2").await;
            stage.home.execute("delete from slow").await;
            second
        },
    );
    assert!(
        first && second,
        "the second waits for the first to be durable"
    );
    for run in [&one, &other] {
        let ready = (RunStatus::Queued, StepStatus::Ready);
        assert_eq!(states(&stage, run).await, ready);
    }
}

/// Twelve are in the first. One more waits for others that would share the second, and then gets it alone.
#[tokio::test]
async fn one_request_waits_a_while_for_others_beside_a_transaction_of_many() {
    let stage = Stage::on(Home::postgres().await).await;
    let definition = chain(&stage);
    let submit = async |numbers: std::ops::Range<usize>| {
        let runs = numbers.map(|n| stage.coordinator.submit(submission(&definition, n)));
        let runs = futures_util::future::try_join_all(runs).await;
        runs.map(drop).unwrap();
    };
    submit(99..100).await;
    stage.home.execute(SLOW_DISK).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let alone = are_at_commit(&stage, "1").await;
        let both = are_at_commit(&stage, "2").await;
        stage.home.execute("delete from slow").await;
        (alone, both)
    };
    let one_more = async {
        let first = are_at_commit(&stage, "1").await;
        (first, tokio::join!(submit(12..13), later).1)
    };
    let ((), (first, (alone, both))) = tokio::join!(submit(0..12), one_more);
    assert!(first, "the twelve are more than one transaction");
    assert!(alone, "one has got a transaction of its own at once");
    assert!(both, "one has got none");
}

/// The committer of another process on the same database.
fn elsewhere(stage: &Stage) -> Committer {
    let parts = &stage.parts;
    let definitions = stage.coordinator.definitions.clone();
    Committer::start(parts.store.clone(), definitions, parts.dispatcher.clone())
}

/// The process that made the job has not heard that another one runs its step.
async fn nothing_is_refused_by_what_only_this_process_believes(home: Home) {
    let stage = Stage::on(home).await;
    let (here, there) = (&stage.parts.committer, elsewhere(&stage));
    let session = Session::open(stage.parts.store.clone(), here)
        .await
        .unwrap();
    let run = stage.submit(STEP).await;
    let claims = there.claim(request(&session)).await.unwrap();
    assert_eq!(runs(&claims), [&run]);
    let fence = claims[0].fence.clone();
    let report = |fence| Command::Complete {
        step: claims[0].fence.step.clone(),
        fence,
        outcome: Outcome::default(),
    };
    let stale = here.fold(&run, report(fence.fence + 1)).await;
    assert!(matches!(stale, Err(CommitError::Rejected(_))), "{stale:?}");
    here.fold(&run, report(fence.fence)).await.unwrap();
    assert_eq!(states(&stage, &run).await.0, RunStatus::Succeeded);
    // The other one believes that it runs, and neither cancels nor ends what is over.
    let cancel = Command::Cancel {
        by: "somebody".to_owned(),
        reason: None,
    };
    let late = there.fold(&run, cancel).await;
    assert!(matches!(late, Err(CommitError::Rejected(_))), "{late:?}");
    assert_eq!(states(&stage, &run).await.0, RunStatus::Succeeded);
    here.end_session(session.id()).await.unwrap();
}

/// A worker that is never without something to do, and that no bell of the other process reaches.
async fn steps_of_others_are_found_without_a_ring(home: Home) {
    let stage = Stage::on(home).await;
    let (here, there) = (&stage.parts.committer, elsewhere(&stage));
    let session = Session::open(stage.parts.store.clone(), here)
        .await
        .unwrap();
    let request = request(&session);
    let give_back = |claim: &Claim| {
        request
            .free
            .give(request.machine.cost(&claim.kind).unwrap());
    };
    let submitted = async |value: u32| {
        let mut awaited = here.wait(request.clone()).await.unwrap();
        let step =
            format!("  only: {{activity: test.act@1, with: {{what: succeed, value: {value}}}}}");
        stage.submit(&step).await;
        awaited.claims().await.unwrap()
    };
    let other = submitted(0).await.remove(0);
    let given_back = Command::Release {
        step: other.fence.step.clone(),
        fence: other.fence.fence,
        usage: Usage::default(),
    };
    there.fold(&other.fence.run, given_back).await.unwrap();
    give_back(&other);
    let is_it = |claims: &[Claim]| runs(claims).contains(&&other.fence.run);
    let began = Instant::now();
    for value in 1.. {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody looked");
        let claims = submitted(value).await;
        if is_it(&claims) {
            break;
        }
        let fence = claims[0].fence.clone();
        let report = Command::Complete {
            step: fence.step,
            fence: fence.fence,
            outcome: Outcome::default(),
        };
        give_back(&claims[0]);
        let more = here.fold_and_claim(&fence.run, report, Some(request.clone()));
        if is_it(&more.await.unwrap()) {
            break;
        }
    }
    here.end_session(session.id()).await.unwrap();
}

/// Whatever the clock says of the process that took it: jobs wait by when they were accepted.
async fn a_job_was_accepted_when_the_database_says_so(home: Home) {
    let stage = Stage::on(home).await;
    let first = stage.submit(STEP).await;
    let accepted = stage.coordinator.store.load_run(&first).await;
    let accepted = accepted.unwrap().unwrap();
    let definition = stage.coordinator.definitions.get(&accepted.definition);
    let definition = definition.await.unwrap();
    for hours in [-1, 1] {
        let id = RunId::generate();
        let run = Run {
            fingerprint: id.to_string(),
            id: id.clone(),
            status: RunStatus::Queued,
            events: 0,
            revision: 0,
            ..accepted.clone()
        };
        let skewed = Utc::now() + TimeDelta::hours(hours);
        let new = machine::plan_run(run, &definition, skewed);
        stage.parts.committer.create(new, false).await.unwrap();
        let store = &stage.coordinator.store;
        let accepted = store.load_run(&id).await.unwrap().unwrap().created_at;
        let events = store.events(&id, 0, 1).await.unwrap();
        let apart = (accepted - events[0].at).abs();
        assert!(apart < TimeDelta::minutes(1), "{apart} apart");
    }
}
