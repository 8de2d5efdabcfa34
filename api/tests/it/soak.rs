//! Servers and workers as processes on Postgres and S3, while things fail beside each other: workers
//! are killed, stopped and paused for longer than their lease, servers are killed, the object store is overloaded,
//! slow and hangs up, the database restarts. No job that was accepted is lost, no step has its effect
//! twice, and the history of each job tells of every change.
//!
//! Half a minute of it is in `./x test`; `./x soak` goes on for as long as it is told, with servers
//! that nothing else uses. What can be set is in [`Plan`].

mod plan;
mod room;
mod site;
mod size;
mod stops;
mod verdict;

use std::time::{Duration, Instant};

use self::plan::{Dice, Plan, Trouble};
use self::site::Site;
use self::verdict::Verdict;

/// How often the database is asked whether something runs that should not.
const LOOK: Duration = Duration::from_millis(500);
/// How long all jobs together may take once nothing fails any more.
const CALM: Duration = Duration::from_secs(1800);

#[test]
fn nothing_is_lost_or_done_twice_while_everything_fails() {
    let plan = Plan::from_environment();
    eprintln!("{plan:?}");
    let mut site = Site::open(&plan);
    let mut verdict = Verdict::default();
    fail(&plan, &mut site, &mut verdict);
    site.calm();
    let deadline = Instant::now() + CALM;
    while site.unfinished() > 0 {
        assert!(
            Instant::now() < deadline,
            "{} jobs do not end",
            site.unfinished()
        );
        verdict.look((&plan, &site));
        std::thread::sleep(LOOK);
    }
    verdict.judge(&site);
    eprintln!("{verdict}");
    verdict.check_taken_over(&plan);
}

/// Submits jobs and lets things fail, until it is time or every job is done.
fn fail(plan: &Plan, site: &mut Site, verdict: &mut Verdict) {
    let mut dice = Dice::new(plan.seed);
    let began = Instant::now();
    let mut next = plan.every;
    while began.elapsed() < plan.time {
        site.submit(plan);
        let unfinished = site.unfinished();
        if plan.is_all(site.accepted()) && unfinished == 0 {
            return;
        }
        verdict.look((plan, site));
        if began.elapsed() >= next {
            next = began.elapsed() + plan.every;
            for trouble in plan.troubles_at_once(&mut dice) {
                eprintln!("{:6.1} s: {trouble:?}", began.elapsed().as_secs_f64());
                if trouble == Trouble::RestartPostgres {
                    verdict.excuse();
                }
                site.suffer(trouble, &mut dice);
            }
        }
        std::thread::sleep(LOOK);
    }
}
