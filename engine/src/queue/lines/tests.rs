use proptest::prelude::*;

use super::*;
use crate::definition::{Gpu, Requires};
use crate::queue::{PRIORITY_POINT_MS, Ticket};

const GIB: u64 = 1 << 30;

/// A step of an activity; each is of a job of its own.
fn waiting(number: u32, (queue, rank): (Queue, i64), memory: u64) -> Waiting {
    Waiting {
        run: RunId::from(format!("job_{number:06}")),
        step: StepId::single("only"),
        position: 0,
        ticket: Ticket {
            kind: Kind {
                queue,
                activity: "a.b@1".to_owned(),
                requires: Requires {
                    memory_bytes: (memory > 0).then_some(memory),
                    ..Requires::default()
                },
                alone: false,
            },
            rank,
        },
    }
}

fn machine(slots: i64, large_slots: i64) -> Machine {
    Machine::new(Room {
        slots,
        large_slots,
        cpus: slots,
        memory_bytes: 4 * GIB as i64,
        ..Room::default()
    })
}

/// Takes one step after the other, each into a machine that is free but for `used`.
fn drain(lines: &mut Lines, machine: Machine, count: usize) -> Vec<(Queue, RunId)> {
    let mut turns = Turns::default();
    let take = |_| {
        let mut free = machine.room();
        let (kind, run, _) = lines.take((machine, &mut free), &mut turns)?;
        Some((kind.queue, run))
    };
    (0..count).map_while(take).collect()
}

fn count(taken: &[(Queue, RunId)], queue: Queue) -> usize {
    taken.iter().filter(|(of, _)| *of == queue).count()
}

#[test]
fn under_backlog_each_queue_gets_its_share_and_nobody_waits_long() {
    let mut lines = Lines::default();
    for number in 0..300 {
        lines.add(waiting(number, (Queue::ALL[number as usize % 3], 0), 0));
    }
    let taken = drain(&mut lines, machine(1, 0), 100);
    for ten in taken.chunks(10) {
        let shares = Queue::ALL.map(|queue| count(ten, queue));
        assert_eq!(shares, [6, 3, 1]);
    }
}

#[test]
fn a_queue_that_waits_alone_gets_every_slot_and_owes_nobody() {
    let mut lines = Lines::default();
    for number in 0..100 {
        lines.add(waiting(number, (Queue::VideoLarge, 0), 0));
    }
    let (machine, mut turns) = (machine(1, 0), Turns::default());
    let mut take = |lines: &mut Lines| {
        let mut free = machine.room();
        lines
            .take((machine, &mut free), &mut turns)
            .unwrap()
            .0
            .queue
    };
    for _ in 0..50 {
        assert_eq!(take(&mut lines), Queue::VideoLarge);
    }
    for number in 100..200 {
        lines.add(waiting(number, (Queue::Default, 0), 0));
    }
    let next: Vec<_> = (0..8).map(|_| take(&mut lines)).collect();
    let large = next.iter().filter(|queue| **queue == Queue::VideoLarge);
    assert_eq!(large.count(), 2, "three to one: {next:?}");
}

#[test]
fn large_work_takes_slots_of_its_own_and_no_others() {
    let mut lines = Lines::default();
    for number in 0..20 {
        lines.add(waiting(number, (Queue::VideoLarge, 0), 0));
        lines.add(waiting(100 + number, (Queue::Default, 0), 0));
    }
    let machine = machine(4, 2);
    let (mut free, mut turns) = (machine.room(), Turns::default());
    let mut taken = Vec::new();
    while let Some((kind, run, _)) = lines.take((machine, &mut free), &mut turns) {
        taken.push((kind.queue, run));
    }
    let shares = Queue::ALL.map(|queue| count(&taken, queue));
    assert_eq!(shares, [0, 4, 2], "{free:?}");
}

#[test]
fn of_a_queue_the_lowest_rank_goes_first_whatever_its_kind() {
    let mut lines = Lines::default();
    for (number, memory) in [(0, 0), (1, GIB), (2, 0), (3, 2 * GIB)] {
        let rank = -i64::from(number);
        lines.add(waiting(number, (Queue::Default, rank), memory));
    }
    let taken = drain(&mut lines, machine(1, 0), 4);
    let runs: Vec<_> = taken.iter().map(|(_, run)| run.as_str()).collect();
    assert_eq!(
        runs,
        ["job_000003", "job_000002", "job_000001", "job_000000"]
    );
}

#[test]
fn who_has_no_room_is_overtaken_for_a_while_and_then_waited_for() {
    let (machine, mut turns) = (machine(4, 0), Turns::default());
    let mut lines = Lines::default();
    lines.add(waiting(0, (Queue::Default, 0), 4 * GIB));
    lines.add(waiting(1, (Queue::Default, OVERTAKE_MS), GIB));
    lines.add(waiting(2, (Queue::Default, OVERTAKE_MS + 1), GIB));
    lines.add(waiting(3, (Queue::Critical, OVERTAKE_MS + 1), GIB));
    // One GiB is in use.
    let mut free = machine.room();
    free.memory_bytes -= GIB as i64;
    let mut taken = Vec::new();
    while let Some((_, run, _)) = lines.take((machine, &mut free), &mut turns) {
        taken.push(run.as_str().to_owned());
    }
    taken.sort();
    assert_eq!(
        taken,
        ["job_000001", "job_000003"],
        "the urgent wait for nobody"
    );
    let mut free = machine.room();
    let (_, run, _) = lines.take((machine, &mut free), &mut turns).unwrap();
    assert_eq!(run.as_str(), "job_000000", "an empty machine takes it");
}

/// A step that needs a machine for itself.
fn alone(number: u32, rank: i64) -> Waiting {
    let mut step = waiting(number, (Queue::Default, rank), 0);
    step.ticket.kind.alone = true;
    step
}

#[test]
fn who_runs_alone_waits_until_nothing_runs_and_lets_nothing_in() {
    let (machine, mut turns) = (machine(4, 1), Turns::default());
    let mut lines = Lines::default();
    lines.add(alone(0, 0));
    lines.add(waiting(1, (Queue::Default, OVERTAKE_MS), 0));
    lines.add(waiting(2, (Queue::Default, OVERTAKE_MS + 1), 0));
    lines.add(waiting(3, (Queue::VideoLarge, OVERTAKE_MS + 1), 0));
    let mut free = machine.room();
    free.slots -= 1;
    let mut take = |free: &mut Room| {
        let (_, run, _) = lines.take((machine, free), &mut turns)?;
        Some(run.as_str().to_owned())
    };
    assert_eq!(take(&mut free).as_deref(), Some("job_000001"));
    assert_eq!(
        take(&mut free),
        None,
        "the others have waited for less long"
    );
    let mut free = machine.room();
    assert_eq!(take(&mut free).as_deref(), Some("job_000000"));
    assert_eq!(free.attempts(), 0);
    assert_eq!(take(&mut free), None);
}

#[test]
fn who_waits_for_graphics_holds_up_nobody_who_takes_none() {
    let machine = Machine::new(Room {
        gpus: 1,
        ..machine(4, 0).room()
    });
    let mut graphics = waiting(0, (Queue::Default, 0), 0);
    graphics.ticket.kind.requires.gpu = Gpu::Required;
    let mut lines = Lines::default();
    lines.add(graphics);
    lines.add(waiting(1, (Queue::Default, OVERTAKE_MS + 1), GIB));
    // One attempt has the graphics processor.
    let (mut free, mut turns) = (machine.room(), Turns::default());
    free.gpus = 0;
    let (_, run, _) = lines.take((machine, &mut free), &mut turns).unwrap();
    assert_eq!(run.as_str(), "job_000001");
}

#[test]
fn who_never_fits_stands_in_nobodys_way() {
    let mut lines = Lines::default();
    lines.add(waiting(0, (Queue::Default, 0), 5 * GIB));
    lines.add(waiting(1, (Queue::Default, 2 * OVERTAKE_MS), 0));
    let taken = drain(&mut lines, machine(1, 0), 2);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1.as_str(), "job_000001");
}

/// A submission: queue, priority, memory in GiB; with 5 it runs alone.
fn arrivals() -> impl Strategy<Value = Vec<(usize, i32, u64)>> {
    proptest::collection::vec((0..3_usize, -3..=3_i32, 0..=5_u64), 1..120)
}

fn arrival(minute: usize, (queue, rank): (usize, i64), memory: u64) -> Waiting {
    let alone = memory > 4;
    let memory = if alone { 0 } else { memory * GIB };
    let mut step = waiting(minute as u32, (Queue::ALL[queue], rank), memory);
    step.ticket.kind.alone = alone;
    step
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Jobs come in one a minute, attempts take two, and a machine works through them: everybody is
    /// taken, room is never overdrawn, and of two of one queue that were alike the one with the lower
    /// rank went first.
    #[test]
    fn everybody_is_taken_and_nobody_is_overtaken_by_his_like(arrivals in arrivals(), slots in 1..4_i64) {
        const MINUTE_MS: i64 = 60_000;
        let machine = machine(slots, 1);
        let (mut free, mut turns) = (machine.room(), Turns::default());
        let (mut lines, mut running) = (Lines::default(), Vec::new());
        let mut order: Vec<(Kind, i64)> = Vec::new();
        let mut ranks = BTreeMap::new();
        for minute in 0.. {
            if let Some((queue, priority, memory)) = arrivals.get(minute) {
                let rank = minute as i64 * MINUTE_MS - i64::from(*priority) * PRIORITY_POINT_MS;
                let step = arrival(minute, (*queue, rank), *memory);
                ranks.insert(step.run.clone(), rank);
                lines.add(step);
            }
            running.retain(|(end, cost)| {
                let goes_on = *end > minute;
                if !goes_on {
                    free += *cost;
                }
                goes_on
            });
            while let Some((kind, run, _)) = lines.take((machine, &mut free), &mut turns) {
                let cost = machine.cost(&kind).unwrap();
                prop_assert!(free.memory_bytes >= 0 && free.slots >= 0 && free.large_slots >= 0);
                running.push((minute + 2, cost));
                prop_assert!(!kind.alone || running.len() == 1, "{running:?}");
                order.push((kind, ranks[&run]));
            }
            if minute >= arrivals.len() && lines.is_empty() {
                break;
            }
            prop_assert!(minute < 10 * arrivals.len() + 100, "somebody starves: {lines:?}");
        }
        prop_assert_eq!(order.len(), arrivals.len());
        // All were there from the beginning: in a queue of one kind the ranks never fall.
        let mut lines = Lines::default();
        for (number, (queue, priority, memory)) in arrivals.iter().enumerate() {
            let rank = -i64::from(*priority);
            lines.add(arrival(number, (*queue, rank), *memory));
        }
        let mut last: BTreeMap<Queue, i64> = BTreeMap::new();
        let mut turns = Turns::default();
        while !lines.is_empty() {
            let mut free = machine.room();
            let (kind, run, _) = lines.take((machine, &mut free), &mut turns).unwrap();
            let number: usize = run.as_str()["job_".len()..].parse().unwrap();
            let rank = -i64::from(arrivals[number].1);
            // Who runs alone takes every empty machine first.
            let before = (!kind.alone).then(|| last.insert(kind.queue, rank)).flatten();
            prop_assert!(before.is_none_or(|before| before <= rank));
        }
    }
}
