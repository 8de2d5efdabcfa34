//! Killed at every write: the shipped program, with a library loaded into it that kills it before, during
//! or after the n-th transaction or object write, and then the same command again. A first run tells which
//! points there are. `TELECINE_CRASHES` sets how many points of each workflow are tried, `all` tries every
//! one; `TELECINE_CRASH="rename 7 after"` tries one of them.

mod place;
mod points;

use place::{Place, Scenario};
use points::Point;

#[test]
fn a_film_killed_at_any_write_is_finished_whole_by_the_same_command() {
    killed_everywhere(&Scenario::film(), 1);
}

#[test]
fn pictures_killed_at_any_write_are_finished_by_the_same_command() {
    killed_everywhere(&Scenario::pictures(), 4);
}

/// Tries so many points in a usual test run.
fn killed_everywhere(scenario: &Scenario, sample: usize) {
    let points = Place::new(scenario).record();
    let chosen = choose(&points, sample);
    eprintln!("{} of {} points", chosen.len(), points.len());
    let mut died = 0;
    for point in &chosen {
        eprintln!("{point}");
        died += usize::from(dies_and_is_finished(scenario, point));
    }
    // Runs differ a little: progress is saved by the clock.
    assert!(
        died * 10 >= chosen.len() * 9,
        "only {died} of {} were reached",
        chosen.len()
    );
}

/// Answers whether the point was reached.
fn dies_and_is_finished(scenario: &Scenario, point: &Point) -> bool {
    let place = Place::new(scenario);
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
    if let Ok(one) = std::env::var("TELECINE_CRASH") {
        return vec![one.parse().expect("KIND NUMBER MOMENT [FRAME]")];
    }
    let wanted = match std::env::var("TELECINE_CRASHES").as_deref() {
        Ok("all") => points.len(),
        Ok(text) => text.parse().expect("a number, or all"),
        Err(_) => sample,
    };
    let step = (points.len() / wanted.max(1)).max(1);
    let first = usize::try_from(std::process::id()).unwrap_or_default() % step;
    let chosen = points.iter().skip(first).step_by(step);
    chosen.take(wanted).cloned().collect()
}
