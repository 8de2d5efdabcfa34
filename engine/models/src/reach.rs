use std::collections::VecDeque;
use std::hash::Hash;

use indexmap::IndexSet;
use stateright::Model;

/// A model that everything in has to come to an end.
pub trait Ends: Model {
    /// Whether all that was wanted has been done.
    fn is_over(&self, state: &Self::State) -> bool;
}

/// The shortest way to where no end can be reached any more; `None` if from every state there is a way
/// to an end.
///
/// That is what "nothing waits for ever" comes to: whoever can go on does so sooner or later, so an end
/// that stays in reach is reached. A search for endless paths alone would call a worker stuck that looks
/// for work every five seconds and finds none.
pub fn dead_end<M>(model: &M) -> Option<Vec<M::Action>>
where
    M: Ends,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    let graph = Graph::of(model);
    let lost = graph.first_outside(&graph.leading_to(|state| model.is_over(state)))?;
    Some(graph.way_to(lost))
}

/// Every state that can be reached, in the order of their distance from the beginning.
struct Graph<S, A> {
    states: IndexSet<S>,
    /// For each state, those that lead to it.
    before: Vec<Vec<usize>>,
    /// For each state, how it was found first.
    found: Vec<Option<(usize, A)>>,
}

impl<S: Clone + Eq + Hash, A: Clone> Graph<S, A> {
    fn of<M: Model<State = S, Action = A>>(model: &M) -> Self {
        let mut graph = Self {
            states: IndexSet::new(),
            before: Vec::new(),
            found: Vec::new(),
        };
        for state in model.init_states() {
            graph.add(state, None);
        }
        let mut at = 0;
        while let Some(state) = graph.states.get_index(at).cloned() {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            for action in actions {
                if let Some(next) = model.next_state(&state, action.clone()) {
                    let next = graph.add(next, Some((at, action)));
                    graph.before[next].push(at);
                }
            }
            at += 1;
        }
        graph
    }

    fn add(&mut self, state: S, found: Option<(usize, A)>) -> usize {
        let (index, new) = self.states.insert_full(state);
        if new {
            self.before.push(Vec::new());
            self.found.push(found);
        }
        index
    }

    /// Which states are, or lead to, one of a kind.
    fn leading_to(&self, is: impl Fn(&S) -> bool) -> Vec<bool> {
        let mut leads: Vec<bool> = self.states.iter().map(is).collect();
        let mut queue: VecDeque<usize> = (0..leads.len()).filter(|at| leads[*at]).collect();
        while let Some(at) = queue.pop_front() {
            for &before in &self.before[at] {
                if !std::mem::replace(&mut leads[before], true) {
                    queue.push_back(before);
                }
            }
        }
        leads
    }

    fn first_outside(&self, set: &[bool]) -> Option<usize> {
        set.iter().position(|inside| !inside)
    }

    fn way_to(&self, mut at: usize) -> Vec<A> {
        let mut way = Vec::new();
        while let Some((before, action)) = &self.found[at] {
            way.push(action.clone());
            at = *before;
        }
        way.reverse();
        way
    }
}
