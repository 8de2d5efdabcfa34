//! Every model holds as telecine does it, and fails with each precaution left out.
//! `TELECINE_MODELS=large` checks wider bounds: `./x verify models`.

mod checker;

use checker::{breaks, fails_to_end, holds, is_large};
use telecine_models::checkpoint::{self, Checkpoints};
use telecine_models::doorbell::{self, Doorbell, Reach};
use telecine_models::generation::{self, Generations, Store};
use telecine_models::lease::{self, Lease};
use telecine_models::publication::{self, Publications};

fn lease(rule: lease::Rule) -> Lease {
    Lease {
        processes: if is_large() { 3 } else { 2 },
        machines: 1,
        stops: 2,
        outages: 1,
        cuts: 1,
        lost_answers: 1,
        losses: 1,
        rule,
    }
}

#[test]
fn a_worker_that_was_given_up_does_no_harm_and_takes_nothing_with_it() {
    holds(lease(lease::Rule::Sound));
}

/// Two machines that share a scratch directory.
fn machines(rule: lease::Rule) -> Lease {
    Lease {
        machines: 2,
        cuts: 0,
        lost_answers: 0,
        ..lease(rule)
    }
}

#[test]
fn a_lock_that_another_machine_finds_free_costs_nobody_a_session() {
    holds(machines(lease::Rule::Sound));
}

#[test]
fn if_a_lock_of_another_machine_proved_death_it_would_kill() {
    let model = machines(lease::Rule::BootIgnored);
    breaks(model.clone(), "nobody is buried alive");
    breaks(model, "a process that beats in time is not ended");
}

#[test]
fn a_lock_that_says_where_it_is_held_before_it_is_taken_kills() {
    let model = lease(lease::Rule::WrittenFirst);
    breaks(model.clone(), "nobody is buried alive");
    breaks(model, "a process that beats in time is not ended");
}

#[test]
fn without_the_fence_an_older_attempt_ends_the_step() {
    let model = lease(lease::Rule::FenceIgnored);
    breaks(model, "an older attempt changes nothing");
}

#[test]
fn without_asking_for_its_session_a_claim_comes_after_the_end() {
    let model = lease(lease::Rule::SessionIgnored);
    breaks(model, "a running step belongs to a session that is there");
}

#[test]
fn a_sweeper_that_dies_between_session_and_steps_leaves_them_running() {
    fails_to_end(lease(lease::Rule::ReleasedLater));
}

#[test]
fn a_session_judged_before_the_transaction_may_live_in_it() {
    let model = lease(lease::Rule::JudgedEarlier);
    breaks(
        model,
        "a session with a lease and a connection is not ended",
    );
}

#[test]
fn if_a_lease_alone_proved_death_an_outage_would_kill() {
    let model = lease(lease::Rule::OutageIsDeath);
    breaks(model, "an outage costs nobody a session");
}

#[test]
fn if_a_closed_connection_alone_proved_death_a_cut_would_kill() {
    let model = lease(lease::Rule::ClosedIsDead);
    breaks(model, "a process that beats in time is not ended");
}

#[test]
fn if_nobody_asked_for_the_judges_own_connection_an_outage_would_kill() {
    let model = lease(lease::Rule::OwnConnectionIgnored);
    breaks(model, "an outage costs nobody a session");
}

#[test]
fn a_claim_that_nobody_looks_for_runs_for_ever() {
    fails_to_end(lease(lease::Rule::DoubtIgnored));
}

fn checkpoints(rule: checkpoint::Rule) -> Checkpoints {
    Checkpoints {
        segments: if is_large() { 4 } else { 2 },
        losses: if is_large() { 3 } else { 2 },
        lost_answers: 1,
        rule,
    }
}

#[test]
fn what_a_checkpoint_names_is_there_and_stays() {
    holds(checkpoints(checkpoint::Rule::Sound));
}

#[test]
fn without_the_fence_an_older_attempt_takes_a_checkpoint_back() {
    let model = checkpoints(checkpoint::Rule::FenceIgnored);
    breaks(model, "nothing that was recorded is made again");
}

#[test]
fn recorded_before_it_is_stored_a_segment_may_be_missing() {
    let model = checkpoints(checkpoint::Rule::RecordedFirst);
    breaks(model, "what is recorded is there");
}

#[test]
fn under_a_shared_name_an_older_attempt_replaces_the_bytes() {
    let model = checkpoints(checkpoint::Rule::SharedNames);
    breaks(model, "what is recorded is there");
}

#[test]
fn a_growth_that_is_sent_again_is_counted_twice() {
    let model = checkpoints(checkpoint::Rule::GrowthUnchecked);
    breaks(model, "every segment is recorded once");
}

fn generations(store: Store, rule: generation::Rule) -> Generations {
    Generations {
        // The second database remembers numbers that the store does not know.
        numbered: vec![0, 2],
        losses: if is_large() && store == Store::Conditional {
            2
        } else {
            1
        },
        looks: if is_large() { 3 } else { 2 },
        store,
        rule,
    }
}

#[test]
fn a_generation_belongs_to_one_job_if_the_store_creates_only_what_is_new() {
    holds(generations(Store::Conditional, generation::Rule::Sound));
}

#[test]
fn a_generation_belongs_to_one_job_if_the_store_only_lists() {
    holds(generations(Store::Plain, generation::Rule::Sound));
}

#[test]
fn a_claim_that_may_be_overwritten_is_none() {
    let model = generations(Store::Conditional, generation::Rule::Overwritten);
    breaks(model, "a generation belongs to one job");
}

#[test]
fn two_that_look_before_they_sign_both_have_it() {
    let mut model = generations(Store::Plain, generation::Rule::LooksFirst);
    model.numbered = vec![0, 0];
    breaks(model, "a generation belongs to one job");
}

#[test]
fn an_older_attempt_that_removes_a_claim_may_remove_that_of_another_job() {
    for store in [Store::Conditional, Store::Plain] {
        let mut model = generations(store, generation::Rule::Removed);
        model.numbered = vec![2, 0, 0];
        model.looks = 1;
        breaks(model, "a generation belongs to one job");
    }
}

fn publications(rule: publication::Rule) -> Publications {
    Publications {
        jobs: 2,
        given_up: if is_large() { 2 } else { 1 },
        kills: if is_large() { 2 } else { 1 },
        cancels: 0,
        kills_strays: false,
        rule,
    }
}

#[test]
fn readers_see_whole_sets_and_never_an_older_one_for_good() {
    holds(publications(publication::Rule::Sound));
}

#[test]
fn a_job_that_is_cancelled_while_it_publishes_leaves_nothing_behind() {
    holds(Publications {
        kills: 0,
        cancels: 1,
        ..publications(publication::Rule::Sound)
    });
}

#[test]
fn a_set_that_is_published_before_it_is_made_is_half_a_set() {
    let model = publications(publication::Rule::PublishedFirst);
    breaks(model.clone(), "what the row names is whole");
    breaks(model, "what the root leads to is whole");
}

#[test]
fn a_playlist_that_is_copied_first_leads_to_what_is_not_there() {
    let model = publications(publication::Rule::PlaylistFirst);
    breaks(model, "what the root leads to is whole");
}

#[test]
fn if_the_last_one_won_readers_would_go_back() {
    let model = publications(publication::Rule::LastWins);
    breaks(model, "the row never goes back");
}

#[test]
fn whoever_copies_blindly_leaves_older_copies_over_newer_ones() {
    fails_to_end(publications(publication::Rule::CopiedBlindly));
}

#[test]
fn a_worker_that_was_given_up_has_to_look_as_well() {
    fails_to_end(publications(publication::Rule::OwnersLook));
}

/// What is left, and what ADR 0009 tells of: whoever would have looked once more dies before that, and
/// nobody takes the step over. The row is right all the time, and the root again with the next job.
#[test]
fn only_a_worker_that_dies_and_has_no_heir_leaves_an_older_root() {
    let sound = publications(publication::Rule::Sound);
    fails_to_end(Publications {
        kills_strays: true,
        ..sound.clone()
    });
    fails_to_end(Publications {
        cancels: 1,
        ..sound
    });
}

fn doorbell(reach: Reach, rule: doorbell::Rule) -> Doorbell {
    Doorbell {
        idle: if is_large() { 3 } else { 2 },
        busy: 1,
        mishaps: 2,
        dies: true,
        patience: true,
        reach,
        rule,
    }
}

/// A bell that nothing happens to, and workers that trust it.
fn trusted(reach: Reach, rule: doorbell::Rule) -> Doorbell {
    Doorbell {
        mishaps: 0,
        dies: false,
        patience: false,
        ..doorbell(reach, rule)
    }
}

const EITHER: [Reach; 2] = [Reach::All, Reach::One];

#[test]
fn no_step_waits_for_ever_whatever_becomes_of_hints() {
    use doorbell::Rule;
    for reach in EITHER {
        holds(doorbell(reach, Rule::Sound));
        // Nothing depends on them: with everything wrong about hints, steps are begun.
        for rule in [Rule::RungFirst, Rule::LooksFirst, Rule::NotPassedOn] {
            checker::ends(doorbell(reach, rule));
        }
    }
}

#[test]
fn without_patience_a_lost_hint_is_a_lost_step() {
    for reach in EITHER {
        let mut model = doorbell(reach, doorbell::Rule::Sound);
        model.patience = false;
        model.dies = false;
        fails_to_end(model);
    }
}

#[test]
fn without_patience_a_process_that_dies_before_it_rings_strands_its_step() {
    for reach in EITHER {
        let mut model = trusted(reach, doorbell::Rule::Sound);
        model.dies = true;
        fails_to_end(model);
    }
}

#[test]
fn a_bell_that_nothing_happens_to_is_enough_by_itself() {
    for reach in EITHER {
        checker::ends(trusted(reach, doorbell::Rule::Sound));
    }
}

#[test]
fn a_ring_before_the_commit_is_heard_too_early() {
    for reach in EITHER {
        fails_to_end(trusted(reach, doorbell::Rule::RungFirst));
    }
}

#[test]
fn whoever_listens_after_looking_misses_what_comes_in_between() {
    fails_to_end(trusted(Reach::All, doorbell::Rule::LooksFirst));
}

#[test]
fn a_hint_that_a_busy_process_keeps_reaches_nobody() {
    fails_to_end(trusted(Reach::One, doorbell::Rule::NotPassedOn));
}
