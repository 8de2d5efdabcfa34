//! Who goes next.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Machine, Queue, Room, Waiting};
use crate::id::{RunId, StepId};

/// A step that has no room yet may be overtaken by those whose rank is at most this much higher, in
/// milliseconds; then nothing more is given of what it lacks until it fits. Without overtaking, a step
/// that wants much memory would keep processors idle; without an end to it, it would never get that
/// memory. Ten minutes are a few attempts of an encode. What takes nothing of what it lacks never holds
/// it up: processors do not wait for a graphics processor that is busy for hours. What runs alone lacks
/// whatever others take.
const OVERTAKE_MS: i64 = 10 * 60_000;

/// Whose turn it is among the queues, over all that this process claims: of ten free slots, `critical`
/// gets six, `default` three and `video:large` one while all of them wait, in turns that are spread
/// evenly. A queue in which nobody waits loses its turns to the others and does not save them up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    credit: BTreeMap<Queue, i64>,
}

impl Turns {
    /// The next of the queues that wait.
    pub fn next(&mut self, waiting: &BTreeSet<Queue>) -> Option<Queue> {
        let all: i64 = waiting.iter().map(|queue| queue.weight()).sum();
        for queue in waiting {
            *self.credit.entry(*queue).or_default() += queue.weight();
        }
        // Of equals the first, which is the more urgent one.
        let next = waiting
            .iter()
            .rev()
            .max_by_key(|queue| self.credit.get(queue))?;
        *self.credit.entry(*next).or_default() -= all;
        Some(*next)
    }
}

/// A step in its line: the lowest rank first, then the oldest run, then in the order of the
/// definition and of its lists.
type Place = (i64, RunId, usize, StepId);

/// The steps that wait, as far as they are known: one line for each kind.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    by_kind: BTreeMap<Kind, BTreeSet<Place>>,
}

impl Lines {
    /// Adds a step, unless it is there.
    pub fn add(&mut self, waiting: Waiting) {
        let Waiting {
            run,
            step,
            position,
            ticket,
        } = waiting;
        let place = (ticket.rank, run, position, step);
        self.by_kind.entry(ticket.kind).or_default().insert(place);
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kind.values().all(BTreeSet::is_empty)
    }

    /// Keeps the kinds and runs that somebody can run.
    #[must_use]
    pub fn only(mut self, activities: &[String], run: Option<&RunId>) -> Self {
        self.by_kind
            .retain(|kind, _| activities.contains(&kind.activity));
        if let Some(run) = run {
            for line in self.by_kind.values_mut() {
                line.retain(|(_, of, ..)| of == run);
            }
        }
        self
    }

    /// Keeps the steps that a test keeps.
    pub fn retain(&mut self, keep: impl Fn(&RunId, &StepId) -> bool) {
        for line in self.by_kind.values_mut() {
            line.retain(|(_, run, _, step)| keep(run, step));
        }
    }

    /// Takes the step that goes next into what is free of a machine, and takes from that what the
    /// step takes. `None` if nobody fits.
    pub fn take(
        &mut self,
        (machine, free): (Machine, &mut Room),
        turns: &mut Turns,
    ) -> Option<(Kind, RunId, StepId)> {
        let heads = self.heads(machine, *free);
        let fitting: Vec<&Head> = heads.iter().filter(|head| head.fits).collect();
        let next = match first(fitting.iter().filter(|head| head.kind.alone)) {
            // Nobody knows when there will be an empty machine again.
            Some(alone) => alone,
            None => {
                let queue = whose_turn(&fitting, turns)?;
                first(fitting.iter().filter(|head| head.kind.queue == queue))?
            }
        };
        let (kind, place, cost) = (next.kind.clone(), next.place.clone(), next.cost);
        self.by_kind.get_mut(&kind)?.remove(&place);
        *free -= cost;
        let (_, run, _, step) = place;
        Some((kind, run, step))
    }

    /// The first step of each kind that fits the machine, and whether it may go now.
    fn heads(&self, machine: Machine, free: Room) -> Vec<Head> {
        let mut heads: Vec<Head> = self
            .by_kind
            .iter()
            .filter_map(|(kind, line)| {
                let cost = machine.cost(kind)?;
                // What runs alone waits for all slots, and is waited for like others that lack room.
                (kind.alone || free.has_slot_for(cost)).then_some(())?;
                Some(Head {
                    kind: kind.clone(),
                    place: line.first()?.clone(),
                    cost,
                    fits: free.holds(cost),
                })
            })
            .collect();
        let without = heads.iter().filter(|head| !head.fits);
        let without: Vec<(i64, Room, bool)> = without
            .map(|head| (head.place.0, head.cost, head.kind.alone))
            .collect();
        for head in &mut heads {
            let held_back = |(rank, wanted, alone): &(i64, Room, bool)| {
                head.place.0 > rank.saturating_add(OVERTAKE_MS)
                    && (*alone || free.is_held_up(*wanted, head.cost))
            };
            let urgent = head.kind.queue == Queue::Critical;
            head.fits &= urgent || !without.iter().any(held_back);
        }
        heads
    }
}

fn first<'a>(heads: impl Iterator<Item = &'a &'a Head>) -> Option<&'a Head> {
    heads.copied().min_by(|a, b| a.place.cmp(&b.place))
}

/// The first of its kind.
struct Head {
    kind: Kind,
    place: Place,
    cost: Room,
    fits: bool,
}

/// Slots that only large work can use take no turn from the others.
fn whose_turn(fitting: &[&Head], turns: &mut Turns) -> Option<Queue> {
    let large = |head: &&&Head| head.cost.large_slots > 0 && head.cost.slots == 0;
    if let Some(own) = fitting.iter().find(large) {
        return Some(own.kind.queue);
    }
    let waiting = fitting.iter().map(|head| head.kind.queue).collect();
    turns.next(&waiting)
}

#[cfg(test)]
mod tests;
