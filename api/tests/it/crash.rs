//! Killed at every write: the shipped program, killed before, during or after the n-th transaction or object
//! write, and then the same command again. With SQLite and directories a library is loaded into it that does
//! so, with Postgres and S3 proxies do. A first run tells which points there are.
//!
//! `TELECINE_CRASHES` sets how many points of each job are tried, `all` tries every one of every workflow;
//! `TELECINE_CRASH="rename 7 after"` tries one of them.

mod place;
mod points;
mod scenario;
mod served;

use place::{Place, Where};
use points::Point;
use scenario::Scenario;

/// Names the one point to try.
const ONE: &str = "TELECINE_CRASH";
/// How far back the point is that is taken for one that a run does not have.
const BACK: usize = 20;

#[test]
fn a_film_killed_at_any_write_is_finished_whole_by_the_same_command() {
    let films: [fn() -> Scenario; 5] = [
        || Scenario::film("video:full"),
        || Scenario::film("video:transcode"),
        || Scenario::film("video:cover"),
        || Scenario::film("video:preview"),
        Scenario::damaged,
    ];
    for film in some_of(&films) {
        killed_everywhere(&film(), (Where::Here, 1));
    }
}

#[test]
fn pictures_killed_at_any_write_are_finished_by_the_same_command() {
    killed_everywhere(&Scenario::pictures(), (Where::Here, 2));
}

#[test]
fn a_film_on_servers_killed_at_any_write_is_finished_whole_by_the_same_command() {
    let films: [fn() -> Scenario; 3] = [
        || Scenario::film("video:full"),
        || Scenario::film("video:transcode"),
        Scenario::damaged,
    ];
    for film in some_of(&films) {
        killed_everywhere(&film(), (Where::Served, 1));
    }
}

/// All where all points are tried, one otherwise: another one in each run.
fn some_of<T>(scenarios: &[T]) -> &[T] {
    let one = std::env::var_os(ONE);
    match wanted().or(one.map(|_| 1)) {
        None => {
            let one = std::process::id() as usize % scenarios.len();
            &scenarios[one..=one]
        }
        Some(_) => scenarios,
    }
}

/// How many points were asked for, if any number was.
fn wanted() -> Option<usize> {
    match std::env::var("TELECINE_CRASHES").as_deref() {
        Ok("all") => Some(usize::MAX),
        Ok(text) => Some(text.parse().expect("a number, or all")),
        Err(_) => None,
    }
}

/// Tries so many points in a usual test run.
fn killed_everywhere(scenario: &Scenario, (at, sample): (Where, usize)) {
    let place = || Place::new(scenario, at);
    let points = place().record();
    let chosen = choose(&points, sample);
    let (workflow, few, all) = (scenario.workflow, chosen.len(), points.len());
    eprintln!("{workflow}: {few} of {all} points");
    for point in &chosen {
        // Runs differ a little: progress is saved by the clock, so the last points may not be there.
        let mut earlier = std::iter::successors(Some(point.clone()), Point::earlier).take(BACK);
        let died = earlier.any(|point| {
            eprintln!("{point}");
            dies_and_is_finished(&place(), &point)
        });
        assert!(died, "{point} is not reached, nor what is before it");
    }
}

/// Answers whether the point was reached.
fn dies_and_is_finished(place: &Place<'_>, point: &Point) -> bool {
    let died = place.die(point);
    let seen = place.read();
    place.finish();
    place.check_history();
    place.check_leftovers();
    place.check_kept(&seen);
    died
}

/// Those that were asked for: a sample takes every n-th, beginning with another one in each run.
fn choose(points: &[Point], sample: usize) -> Vec<Point> {
    if let Ok(one) = std::env::var(ONE) {
        let one: Point = one.parse().expect("KIND NUMBER MOMENT [FRAME]");
        let is_here = points.iter().any(|point| point.kind == one.kind);
        return is_here.then_some(one).into_iter().collect();
    }
    let wanted = wanted().unwrap_or(sample).clamp(1, points.len());
    let step = points.len() / wanted;
    let first = std::process::id() as usize % step;
    let chosen = points.iter().skip(first).step_by(step);
    chosen.take(wanted).cloned().collect()
}
