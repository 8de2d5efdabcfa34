//! Changes that are saved by themselves, if what they were prepared on is so.

use chrono::TimeDelta;
use serde_json::json;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::machine::{self, Changes, Command, Facts, View};
use telecine_engine::run::{Snapshot, StepStatus};
use telecine_engine::store::{Admission, NewRun, Premises, StepSet, StoreError};

use super::{Bench, Job, insertion, queued, single, steps, view};

/// A claim of the only step of a job, and a new run.
struct Prepared {
    premises: Premises,
    changes: Vec<(RunId, Changes)>,
    new: NewRun,
}

impl Prepared {
    async fn on(on: &Bench, job: &Job, session: &SessionId) -> Self {
        let mut tx = on.store.begin().await.unwrap();
        let now = tx.now().await.unwrap();
        let rows = view(tx.as_mut(), &job.id).await;
        let loaded = steps(tx.as_mut(), &job.id, StepSet::All).await;
        drop(tx);
        let revision = rows.run.revision;
        let mut folded = View::new(rows, job.definition.clone());
        folded.add_steps(loaded);
        let command = Command::Claim {
            step: StepId::single("only"),
            session: session.clone(),
        };
        let facts = Facts {
            now,
            ..Facts::default()
        };
        machine::decide(&mut folded, &command, &facts).unwrap();
        let new = machine::plan_run(queued(&single(), json!({})), &single(), now);
        Self {
            premises: Premises {
                now,
                sessions: [session.clone()].into(),
                admissions: vec![Admission::of(&new.run, false)],
                runs: [(job.id.clone(), revision)].into(),
            },
            changes: vec![(job.id.clone(), folded.flush()), insertion(&new)],
            new,
        }
    }

    async fn save(&self, on: &Bench) -> Result<(), StoreError> {
        let saved = on
            .store
            .save_if(&self.premises, self.changes.clone())
            .await?;
        assert!(saved - self.premises.now >= TimeDelta::zero());
        assert!(saved - self.premises.now < TimeDelta::seconds(30));
        Ok(())
    }
}

async fn seen(on: &Bench, job: &Job) -> (Snapshot, usize) {
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    (snapshot, on.events(job).await.len())
}

/// See the name.
pub async fn what_holds_is_saved_by_one_call(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let prepared = Prepared::on(&on, &job, &session).await;
    let before = on.events(&job).await.len();
    prepared.save(&on).await.unwrap();
    let on = on.reopen().await;
    let (after, events) = seen(&on, &job).await;
    let revision = prepared.premises.runs[&job.id];
    assert_eq!(after.run.revision, revision + 1);
    assert_eq!(after.steps[0].step.status, StepStatus::Running);
    assert_eq!(after.steps[0].attempts[0].worker, session);
    assert!(events > before);
    assert_eq!(on.store.waiting(None, 9).await.unwrap(), []);
    let new = &prepared.new.run;
    assert!(on.store.load_run(&new.id).await.unwrap().is_some());
    let found = on.store.find_run(&new.fingerprint).await.unwrap();
    assert_eq!(found.as_ref(), Some(&new.id));
}

/// A session that is gone, a request that another run is the answer to, a run that has gone on, one that is not there:
/// each of them alone, and all else holds.
pub async fn nothing_is_saved_unless_all_of_it_holds(on: Bench) {
    let job = on.submit(single()).await;
    let (session, gone) = (on.session().await, SessionId::generate());
    let whole = Prepared::on(&on, &job, &session).await;
    let before = seen(&on, &job).await;
    let other = on.submit(single()).await;
    let taken = on.store.load_run(&other.id).await.unwrap().unwrap();
    let broken: [&dyn Fn(&mut Premises); 4] = [
        &|it| it.sessions = [gone.clone()].into(),
        &|it| it.admissions[0].fingerprint = taken.fingerprint.clone(),
        &|it| it.runs.values_mut().for_each(|revision| *revision -= 1),
        &|it| {
            it.runs.insert(RunId::generate(), 1);
        },
    ];
    for (number, break_it) in broken.into_iter().enumerate() {
        let mut prepared = Prepared::on(&on, &job, &session).await;
        break_it(&mut prepared.premises);
        let refused = prepared.save(&on).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Contended(_)),
            "{number}: {refused}"
        );
        assert_eq!(seen(&on, &job).await, before, "{number}");
        let new = &prepared.new.run;
        assert_eq!(on.store.load_run(&new.id).await.unwrap(), None, "{number}");
        assert_eq!(on.store.find_run(&new.fingerprint).await.unwrap(), None);
    }
    let found = on.store.find_run(&taken.fingerprint).await.unwrap();
    assert_eq!(found.as_ref(), Some(&other.id), "it keeps its request");
    whole.save(&on).await.unwrap();
}

/// See the name.
pub async fn of_two_that_are_prepared_on_the_same_one_is_saved(on: Bench) {
    for _ in 0..10 {
        let job = on.submit(single()).await;
        let session = on.session().await;
        let one = Prepared::on(&on, &job, &session).await;
        let other = Prepared::on(&on, &job, &session).await;
        let saved = tokio::join!(one.save(&on), other.save(&on));
        let (won, lost) = match saved {
            (Ok(()), Err(lost)) => (&one, (lost, &other)),
            (Err(lost), Ok(())) => (&other, (lost, &one)),
            both => panic!("{both:?}"),
        };
        assert!(matches!(lost.0, StoreError::Contended(_)), "{}", lost.0);
        let there = async |it: &Prepared| on.store.load_run(&it.new.run.id).await.unwrap();
        assert!(there(won).await.is_some() && there(lost.1).await.is_none());
    }
}

/// The newest of two jobs of one request has it, and the other one is remembered: as if both had been asked for.
pub async fn who_insists_takes_a_request_from_whoever_has_it(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let mut prepared = Prepared::on(&on, &job, &session).await;
    let has_it = on.store.load_run(&job.id).await.unwrap().unwrap();
    let admission = &mut prepared.premises.admissions[0];
    admission.fingerprint = has_it.fingerprint.clone();
    admission.force = true;
    for (_, changes) in &mut prepared.changes {
        if let (true, Some(run)) = (changes.created, &mut changes.run) {
            run.fingerprint = has_it.fingerprint.clone();
        }
    }
    prepared.save(&on).await.unwrap();
    let found = on.store.find_run(&has_it.fingerprint).await.unwrap();
    assert_eq!(found.as_ref(), Some(&prepared.new.run.id));
}
