//! Which worker had room for a step, and when. A step that was given back goes on once somebody has room
//! for it: how long that takes says nothing of how it was given back.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use telecine_engine::definition::{Definition, Requires};
use telecine_engine::limits::LOSSES_IN_A_ROW;
use telecine_engine::queue::{Capability, Kind, Machine, Queue, Room};

use super::site::Site;

/// The workers that are there, as JSON.
const WORKERS: &str = "select coalesce(json_agg(json_build_object('session', id, 'since', opened_at, \
    'offer', offer::json)), '[]')::text from session where offer is not null";

type Time = DateTime<Utc>;

/// A time from one moment to another.
pub(super) type Span = (Time, Time);

/// All workers of a soak, by session, and what they did when.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_session: BTreeMap<String, Worker>,
    /// What the steps of the workflow take, by node.
    requires: BTreeMap<String, Requires>,
}

#[derive(Debug)]
struct Worker {
    machine: Machine,
    since: Time,
    /// When it was lost, or told to stop.
    until: Option<Time>,
    attempts: Vec<(Span, Room)>,
}

/// A row of [`WORKERS`].
#[derive(Debug, Deserialize)]
struct Offer {
    session: String,
    since: Time,
    offer: Capability,
}

impl Workers {
    /// Notes who is there.
    pub(super) fn meet(&mut self, site: &Site) {
        let Some(rows) = site.runtime.block_on(site.database.text(WORKERS)) else {
            return;
        };
        let rows: Vec<Offer> = serde_json::from_str(&rows).expect("rows as they are asked for");
        for Offer {
            session,
            since,
            offer,
        } in rows
        {
            self.by_session.entry(session).or_insert_with(|| Worker {
                machine: offer.machine,
                since,
                until: None,
                attempts: Vec::new(),
            });
        }
    }

    /// Notes who was lost when, and which attempts they had: all that is to be known of jobs that have
    /// ended.
    pub(super) fn learn(&mut self, site: &Site, jobs: &[&Value]) {
        for loss in &site.losses {
            let worker = loss.session.as_ref();
            let worker = worker.and_then(|session| self.by_session.get_mut(session));
            if let Some(worker) = worker {
                worker.until = Some(loss.at);
            }
        }
        let workflow = jobs.first().and_then(|job| job["type"].as_str());
        let path = format!("/api/workflows/{}", workflow.expect("a job"));
        let document = site.get(&path).expect("the workflow can be read");
        let definition = Definition::from_canonical(&document["definition"].to_string());
        let steps = definition.expect("a definition").steps.into_iter();
        self.requires = steps.map(|(node, step)| (node, step.requires)).collect();
        let steps = jobs.iter().flat_map(|job| job["steps"].as_array());
        for step in steps.flatten() {
            self.learn_step(step);
        }
    }

    fn learn_step(&mut self, step: &Value) {
        let kind = self.kind(step);
        for attempt in step["attempts"].as_array().into_iter().flatten() {
            let session = attempt["worker"].as_str().unwrap_or_default();
            let Some(worker) = self.by_session.get_mut(session) else {
                continue;
            };
            let span = (time(&attempt["started_at"]), time(&attempt["ended_at"]));
            let cost = worker.machine.cost(&kind).unwrap_or_default();
            worker.attempts.push((span, cost));
        }
    }

    fn kind(&self, step: &Value) -> Kind {
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let id = text("id");
        let node = id.split('[').next().unwrap_or_default();
        Kind {
            queue: Queue::Default,
            activity: text("activity"),
            requires: self.requires.get(node).copied().unwrap_or_default(),
            alone: false,
        }
    }

    /// For how many seconds of a time no worker had room for a step. One that lost too many workers in a row
    /// has room where nothing else runs.
    pub(super) fn without_room(&self, step: &Value, (from, to): Span) -> f64 {
        let kind = Kind {
            alone: losses(step, from) >= LOSSES_IN_A_ROW && step["checkpoint"].is_null(),
            ..self.kind(step)
        };
        let changes = self.by_session.values().flat_map(Worker::changes);
        let mut moments: Vec<Time> = changes.filter(|at| from < *at && *at < to).collect();
        moments.extend([from, to]);
        moments.sort_unstable();
        moments
            .windows(2)
            .filter(|pair| {
                let mut workers = self.by_session.values();
                !workers.any(|worker| worker.has_room(&kind, pair[0]))
            })
            .fold(0.0, |sum, pair| sum + (pair[1] - pair[0]).as_seconds_f64())
    }
}

impl Worker {
    /// When what is free of it may have changed.
    fn changes(&self) -> impl Iterator<Item = Time> {
        let attempts = self.attempts.iter();
        let attempts = attempts.flat_map(|((from, to), _)| [*from, *to]);
        attempts.chain([self.since]).chain(self.until)
    }

    fn has_room(&self, kind: &Kind, at: Time) -> bool {
        let is_there = self.since <= at && self.until.is_none_or(|until| at < until);
        let running = self.attempts.iter();
        let running = running.filter(|((from, to), _)| *from <= at && at < *to);
        let free = running.fold(self.machine.room(), |free, (_, cost)| free - *cost);
        is_there && self.machine.cost(kind).is_some_and(|cost| free.holds(cost))
    }
}

/// How many attempts of a step were lost one after the other until then.
fn losses(step: &Value, until: Time) -> u32 {
    let attempts = step["attempts"].as_array().into_iter().flatten();
    attempts
        .filter(|attempt| time(&attempt["ended_at"]) <= until)
        .fold(0, |losses, attempt| match attempt["outcome"] == "lost" {
            true => losses + 1,
            false => 0,
        })
}

/// A time of a document.
pub(super) fn time(value: &Value) -> Time {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("a time, not {value}"));
    text.parse().expect("a time")
}
